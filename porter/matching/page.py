"""A match as one HTML page: both networks side by side, joined where a layer was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from posixpath import commonpath
from typing import TYPE_CHECKING, NamedTuple

from porter.report.page import page, row, table

if TYPE_CHECKING:
    from porter.matching.result import MatchedLayer, MatchResult

_LINE, _TOP, _MARGIN, _BETWEEN, _CHARACTER = 18, 26, 16, 180, 6.7
_STYLE = """<style>
.networks svg { max-width: none; }
.networks text { font: 11px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: var(--ink); }
.networks text.head { font-weight: 700; }
.networks text.source { text-anchor: end; }
.networks text.open { fill: var(--bad); font-weight: 700; }
.networks path { fill: none; stroke: var(--float64); stroke-width: 1.2; opacity: .55; }
.networks path.adjusted { stroke: var(--odd); stroke-width: 2; opacity: .9; }
.networks path.guess { stroke-dasharray: 4 3; }
.networks path:hover { stroke-width: 4; opacity: 1; }
</style>"""


class _Column(NamedTuple):
    """The names of one network, one below the other."""

    rows: Mapping[str, int]
    prefix: str

    def shown(self, name: str) -> str:
        """Return a name as it is written: without what all of them share."""
        return name.removeprefix(self.prefix) or "(the network itself)"

    @property
    def width(self) -> int:
        return round(max((len(self.shown(name)) for name in self.rows), default=0) * _CHARACTER) + _MARGIN


def page_of(found: MatchResult) -> str:
    """Return the page of a match; it has no scripts and loads nothing."""
    return page(f"{found.source} to {found.target.words}", found.status, "\n".join(_body(found)))


def _body(found: MatchResult) -> Iterator[str]:
    kind = "parity" if found.status == "proved" else "no_parity"
    how = f"{len(found.layers)} of {len(found.modules)} modules with parameters have their layer."
    yield f'{_STYLE}<div class="verdict {kind}"><b>{found.status}</b><p>{how}</p></div>'
    yield from _list("Open", found.open)
    yield from _list("Adjusted", tuple(found.needed) if found.adjusted else ())
    yield from _list("Others", found.others)
    yield from _list("Notes", found.notes)
    if found.proof:
        yield "<h2>Proof</h2>"
        rows = (
            row(each.weights, [each.size, f"{each.worst:.1e}", each.where], bad=False) for each in found.proof
        )
        yield table(("weights", "pixels", "worst difference", "at"), rows)
    yield "<h2>Both networks</h2>"
    yield (
        "<p class=\"soft\">TensorFlow's layers on the left and PyTorch's modules on the right, each in order "
        "of execution. A thick line is a module that is adjusted, a broken one a guess; bold red has no "
        "counterpart.</p>"
    )
    yield f'<div class="scroll networks" tabindex="0">{_drawing(found)}</div>'


def _list(heading: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield f"<h2>{heading}</h2><ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _drawing(found: MatchResult) -> str:
    matched = [(name, each) for each in found.layers for name in each.layer.split(", ")]
    sources = _column([*found.source_layers, *(name for name, _ in matched)])
    targets = _column([*found.modules, *(each.module for _, each in matched)])
    left, right = sources.width, sources.width + _BETWEEN
    width, height = right + targets.width, _TOP + _LINE * (max(len(sources.rows), len(targets.rows)) + 1)
    parts = [
        f'<text class="head source" x="{left}" y="14">TensorFlow</text>',
        f'<text class="head" x="{right}" y="14">PyTorch</text>',
        *(_line(left, sources.rows[name], targets.rows[each.module], name, each) for name, each in matched),
        *_names(sources, {name for name, _ in matched}, "source", left),
        *_names(targets, {each.module for _, each in matched}, "target", right),
    ]
    return (
        f'<svg viewBox="0 0 {width} {height}" style="width:{width}px" role="img" '
        f'aria-label="both networks">{"".join(parts)}</svg>'
    )


def _column(names: Sequence[str]) -> _Column:
    ordered = list(dict.fromkeys(names))
    # A slash in front of each: a name with one and a name without have no common path.
    shared = commonpath([f"/{name}" for name in ordered])[1:] if len(ordered) > 1 else ""
    return _Column({name: number for number, name in enumerate(ordered)}, shared and f"{shared}/")


def _names(column: _Column, matched: set[str], kind: str, x: int) -> Iterator[str]:
    for name, number in column.rows.items():
        names = kind if name in matched else f"{kind} open"
        yield f'<text class="{names}" x="{x}" y="{_y(number) + 4}">{escape(column.shown(name))}</text>'


def _line(left: int, source: int, target: int, name: str, layer: MatchedLayer) -> str:
    start, end, middle = left + 8, left + _BETWEEN - 8, left + _BETWEEN // 2
    kind = "adjusted" if layer.adjusted else "guess" if layer.evidence.startswith("a guess") else ""
    curve = f"M{start},{_y(source)} C{middle},{_y(source)} {middle},{_y(target)} {end},{_y(target)}"
    changed = f"; adjusted: {', '.join(layer.adjusted)}" if layer.adjusted else ""
    told = escape(f"{name} is {layer.module} ({layer.kind}){changed}")
    return f'<path class="{kind}" d="{curve}"><title>{told}</title></path>'


def _y(number: int) -> int:
    return _TOP + _LINE * number + _LINE // 2
