"""A parity report for a terminal of 80 columns: the answer, what speaks against it, everything else."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator

import click

from porter.parity.outcome import (
    CaseResult,
    ClassProbability,
    ImageResult,
    ParityReport,
    StageResult,
    Verdict,
)
from porter.report.notation import (
    bound,
    error,
    guilty,
    notes,
    preparation,
    relative,
    sentence,
    side,
    size,
    verdict,
)

_WIDTH = 80
_CELL = 8
_GUESS = 39
_CASES_PER_TABLE = 3
_COLOURS = {Verdict.PARITY: "green", Verdict.STALE: "yellow", Verdict.UNDECIDED: "yellow"}

Paint = Callable[[str, str], str]


def text(report: ParityReport, *, colour: bool = False) -> str:
    """Return the whole report as lines of at most 80 characters.

    Args:
        report: The outcome.
        colour: Mark the verdict and bad figures with terminal colours; for a terminal only.
    """

    def paint(written: str, name: str) -> str:
        return click.style(written, fg=name, bold=True) if colour else written

    parts = [_head(report, paint), _cases(report, paint), _failure(report), _findings(report)]
    parts += [_image(image) for image in report.images]
    parts += [_tables(report, paint), _circumstances(report)]
    return "\n\n".join("\n".join(lines) for lines in map(list, parts) if lines) + "\n"


def _head(report: ParityReport, paint: Paint) -> Iterator[str]:
    answer = verdict(report)
    yield from textwrap.wrap(report.title, _WIDTH)
    yield from _item("expected", side(report.expected))
    yield from _item("actual", side(report.actual))
    problem = report.stale or report.undecided
    reason = f": {problem}" if problem is not None else ""
    if report.verdict is Verdict.NO_PARITY and report.first_bad_stage is not None:
        reason = f": first bad stage is {report.first_bad_stage}"
    first, *rest = textwrap.wrap(f"{answer}{reason}", _WIDTH)
    yield ""
    yield first.replace(answer, paint(answer, _COLOURS.get(report.verdict, "red")), 1)
    yield from rest


def _cases(report: ParityReport, paint: Paint) -> Iterator[str]:
    if not report.cases:
        return
    wide = max(9, *(len(case.dtype) + 1 for case in report.cases))
    yield f"{'dtype':<{wide}}{'size':<10}{'passed':>9}  {'worst propagated':<24}worst local"
    for case in report.cases:
        passed = sum(stage.passed for stage in case.stages)
        row = f"{case.dtype:<{wide}}{size(case):<10}{f'{passed}/{len(case.stages)}':>9}  "
        row += f"{_worst(case, 'propagated'):<24}{_worst(case, 'local')}"
        if not case.decides:
            yield f"{row} (i)"
        else:
            yield row if case.passed else paint(row, "red")
    if not all(case.decides for case in report.cases):
        rests = "the verdict rests on the other cases" if report.undecided is None else "nothing decides"
        yield f"(i) informs only; {rests}"


def _worst(case: CaseResult, column: str) -> str:
    figures = [
        (deviation.relative, stage.name)
        for stage in case.stages
        if (deviation := getattr(stage, column)) is not None and deviation.compared
    ]
    if not figures:
        return "not run"
    worst, stage = max(figures, key=lambda figure: figure[0])
    return f"{error(worst):<8}{_clip(stage, 13)}"


def _failure(report: ParityReport) -> Iterator[str]:
    for case in report.cases:
        bad = case.first_bad_stage
        if bad is not None and case.decides:
            column, deviation = guilty(bad)
            told = f"First bad stage {bad.name} at {case.name}, {column} column: {sentence(deviation)}."
            yield from textwrap.wrap(told, _WIDTH)
            return


def _findings(report: ParityReport) -> Iterator[str]:
    if not report.findings:
        return
    yield "Likely cause" if len(report.findings) == 1 else "Likely causes, most likely first"
    for number, finding in enumerate(report.findings, 1):
        yield from _item(f"{number}. {finding.cause}", f"{finding.stage}: {finding.evidence}", indent=5)
        yield from textwrap.wrap(
            f"Look at {finding.look_at}", _WIDTH, initial_indent=" " * 5, subsequent_indent=" " * 5
        )


def _image(image: ImageResult) -> Iterator[str]:
    yield f"Image {image.file}"
    yield from textwrap.wrap(preparation(image), _WIDTH)
    if not image.expected:
        return
    yield f"  {'expected':<{_GUESS}}actual"
    for row in zip(image.expected, image.actual, strict=True):
        yield ("  " + "".join(f"{_clip(_guess(guess), _GUESS - 2):<{_GUESS}}" for guess in row)).rstrip()
    yield f"  largest difference of any class's probability: {error(image.probability_difference)}"
    yield _clip(f"  after timm's own transform: {_guess(image.target[0])}", _WIDTH)


def _guess(guess: ClassProbability) -> str:
    return f"{guess.probability:7.2%} {guess.index:>4} {guess.label}".rstrip()


def _tables(report: ParityReport, paint: Paint) -> Iterator[str]:
    by_dtype: dict[str, list[CaseResult]] = {}
    for case in report.cases:
        by_dtype.setdefault(case.dtype, []).append(case)
    first = True
    for cases in by_dtype.values():
        for start in range(0, len(cases), _CASES_PER_TABLE):
            if not first:
                yield ""
            first = False
            yield from _table(cases[start : start + _CASES_PER_TABLE], paint)
    if by_dtype:
        yield "error is max|actual - expected| / max|expected| of the stage; ! is too much"
        yield "propagated: on each network's own activations; local: on the reference's input"


def _table(cases: list[CaseResult], paint: Paint) -> Iterator[str]:
    width = min(18, max(len(stage.name) for case in cases for stage in case.stages) + 2)
    yield (
        f"{cases[0].dtype:<{width}}"
        + "".join(f"{size(case):^{2 * _CELL + 2}}" for case in cases)
        + "  allowed"
    )
    yield (" " * width + f"{'propagtd':>{_CELL}} {'local':>{_CELL}} " * len(cases)).rstrip()
    for name in dict.fromkeys(stage.name for case in cases for stage in case.stages):
        stages = [next((stage for stage in case.stages if stage.name == name), None) for case in cases]
        mark = any(case.first_bad_stage is stage for case, stage in zip(cases, stages, strict=True) if stage)
        row = f"{'> ' if mark else '  '}{_clip(name, width - 2):<{width - 2}}"
        row += "".join(_cells(stage, paint) for stage in stages)
        allowed = {bound(stage.propagated.tolerance) for stage in stages if stage is not None}
        yield f"{row} {min(allowed, key=float):>{_CELL}}" if allowed else row


def _cells(stage: StageResult | None, paint: Paint) -> str:
    if stage is None:
        return " " * (2 * _CELL + 2)
    cells = ""
    for deviation in (stage.propagated, stage.local):
        bad = deviation is not None and not deviation.passed
        cell = f"{relative(deviation):>{_CELL}}" + ("!" if bad else " ")
        cells += paint(cell, "red") if bad else cell
    return cells


def _circumstances(report: ParityReport) -> Iterator[str]:
    for note in notes(report):
        yield from _item("note", note)
    if report.ledger:
        yield from _item("ledger", ", ".join(f"{count} {word}" for word, count in report.ledger.items()))


def _item(label: str, told: str, indent: int = 10) -> list[str]:
    head = f"{label + ':':<{indent - 1}} "
    return textwrap.wrap(head + told, _WIDTH, subsequent_indent=" " * indent, break_long_words=True)


def _clip(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: width - 2]}.."
