"""Error against stage on a logarithmic scale, as inline SVG that follows the page's colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from porter.parity.outcome import CaseResult, Deviation, StageResult
from porter.report.notation import bound, relative, size

# Two drawings of the same data: rows of stages stay legible at phone width, columns use a desktop's.
_STEP = {"wide": 22.0, "tall": 17.0}
_WIDEST = 880.0
_ERROR_LENGTH = {"wide": 300, "tall": 236}
_LABELS = {"wide": 66, "tall": 92}
_MARGIN = 34


@dataclass(frozen=True, slots=True)
class _Axes:
    """Where stage number i and an error lie, in drawing units.

    Attributes:
        orientation: ``"wide"`` (stages to the right, errors upwards) or ``"tall"`` (stages downwards,
            errors to the right).
        stages: Names along the stage axis.
        low: Decade at the start of the error axis.
        high: Decade at its end.
    """

    orientation: str
    stages: tuple[str, ...]
    low: int
    high: int

    @property
    def length(self) -> float:
        """Length of the error axis."""
        return _ERROR_LENGTH[self.orientation]

    @property
    def step(self) -> float:
        """Distance between two stages; a wide drawing is as wide with few of them."""
        fewest = _WIDEST / len(self.stages) if self.orientation == "wide" else 0.0
        return max(_STEP[self.orientation], fewest)

    @property
    def extent(self) -> float:
        """Length of the stage axis."""
        return self.step * len(self.stages)

    def along(self, error: float) -> float:
        """Return the distance of an error from the start of its axis; zero lies at the start."""
        decade = math.log10(error) if error > 0 else self.low
        return self.length * (min(max(decade, self.low), self.high) - self.low) / (self.high - self.low)

    def point(self, index: float, error: float) -> tuple[float, float]:
        """Return x and y."""
        across = self.step * (index + 0.5)
        if self.orientation == "wide":
            return _MARGIN + across, 10 + self.length - self.along(error)
        return _LABELS["tall"] + self.along(error), 24 + across

    @property
    def box(self) -> tuple[float, float]:
        """Width and height of the drawing."""
        if self.orientation == "wide":
            return _MARGIN + self.extent + 10, 10 + self.length + _LABELS["wide"]
        return _LABELS["tall"] + self.length + 22, 24 + self.extent + 6


def plots(cases: Sequence[CaseResult]) -> str:
    """Return a figure for the cases of one input size: one case per element type."""
    stages = tuple(dict.fromkeys(stage.name for case in cases for stage in case.stages))
    decades = [math.log10(e) for e in _errors(cases) if e > 0 and math.isfinite(e)]
    low = math.floor(min(decades, default=-16))
    high = max(math.ceil(max(decades, default=0)), low + 1)
    drawings = (_drawing(_Axes(orientation, stages, low, high), cases) for orientation in ("wide", "tall"))
    return "".join(drawings)


def _errors(cases: Sequence[CaseResult]) -> Iterator[float]:
    for case in cases:
        for stage in case.stages:
            yield stage.propagated.tolerance
            yield stage.propagated.relative
            if stage.local is not None:
                yield stage.local.relative


def _drawing(axes: _Axes, cases: Sequence[CaseResult]) -> str:
    width, height = axes.box
    parts = [*_grid(axes)]
    for case in cases:
        parts += [_tolerance(axes, case)]
        for column in ("propagated", "local"):
            parts += _series(axes, case, column)
    parts += _bad(axes, cases)
    label = f"Error of every stage at {size(cases[0])}, logarithmic"
    return (
        f'<svg class="{axes.orientation}" role="img" aria-label="{escape(label)}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}">{"".join(parts)}</svg>'
    )


def _grid(axes: _Axes) -> Iterator[str]:
    every = max(1, math.ceil((axes.high - axes.low) / (8 if axes.orientation == "wide" else 5)))
    last = len(axes.stages) - 0.5
    for decade in range(axes.low, axes.high + 1):
        (x1, y1), (x2, y2) = axes.point(-0.5, 10.0**decade), axes.point(last, 10.0**decade)
        yield _line("grid", x1, y1, x2, y2)
        if (decade - axes.low) % every == 0:
            wide = axes.orientation == "wide"
            yield _text(
                "end" if wide else "middle", x1 - 4 if wide else x1, y1 + 3 if wide else y1 - 6, decade
            )
    for i, name in enumerate(axes.stages):
        yield _stage_label(axes, i, name)


def _text(anchor: str, x: float, y: float, decade: int) -> str:
    shown = str(decade).replace("-", "\N{MINUS SIGN}")
    exponent = f'10<tspan dy="-4" font-size="7">{shown}</tspan>'
    return f'<text text-anchor="{anchor}" x="{x:.1f}" y="{y:.1f}">{exponent}</text>'


def _stage_label(axes: _Axes, index: int, name: str) -> str:
    short = name if len(name) <= 14 else f"{name[:12]}.."
    x, y = axes.point(index, 0.0)
    if axes.orientation == "tall":
        return f'<text text-anchor="end" x="{x - 8:.1f}" y="{y + 3:.1f}">{escape(short)}</text>'
    turn = f'transform="rotate(-60 {x:.1f} {y + 14:.1f})"'
    return f'<text text-anchor="end" x="{x + 3:.1f}" y="{y + 16:.1f}" {turn}>{escape(short)}</text>'


def _tolerance(axes: _Axes, case: CaseResult) -> str:
    corners = []
    for stage in case.stages:
        index = axes.stages.index(stage.name)
        ends = (axes.point(index + side, stage.propagated.tolerance) for side in (-0.5, 0.5))
        corners += [f"{x:.1f},{y:.1f}" for x, y in ends]
    told = f"{case.dtype} tolerance, {bound(case.stages[0].propagated.tolerance)} at {case.stages[0].name}"
    return (
        f'<polyline class="tolerance {escape(case.dtype)}" points="{" ".join(corners)}">'
        f"<title>{escape(told)}</title></polyline>"
    )


def _series(axes: _Axes, case: CaseResult, column: str) -> Iterator[str]:
    read: Callable[[StageResult], Deviation | None] = lambda stage: getattr(stage, column)  # noqa: E731
    points = []
    for stage in case.stages:
        deviation = read(stage)
        if deviation is None or not math.isfinite(deviation.relative):
            continue
        x, y = axes.point(axes.stages.index(stage.name), deviation.relative)
        points.append((x, y, f"{stage.name} {case.dtype} {column}: {relative(deviation)}"))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
    yield f'<polyline class="{column} {escape(case.dtype)}" points="{path}"/>'
    for x, y, told in points:
        mark = f'class="mark {column} {escape(case.dtype)}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"'
        yield f"<circle {mark}><title>{escape(told)}</title></circle>"


def _bad(axes: _Axes, cases: Sequence[CaseResult]) -> Iterator[str]:
    first = next((case.first_bad_stage for case in cases if case.decides), None)
    if first is None:
        return
    index = axes.stages.index(first.name)
    (x1, y1), (x2, y2) = axes.point(index, 10.0**axes.low), axes.point(index, 10.0**axes.high)
    yield _line("bad", x1, y1, x2, y2)


def _line(name: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{name}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
