"""A parity report as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from porter.parity.outcome import CaseResult, Deviation, ParityReport, StageResult, Verdict
from porter.recordings.recording import Provenance
from porter.report.named_report import NamedReport
from porter.report.notation import (
    bound,
    error,
    guilty,
    notes,
    preparation,
    relative,
    sentence,
    share,
    size,
    verdict,
)
from porter.report.page import cell, page, row, table
from porter.report.plot import plots

_HEADINGS = ("propagated", "local", "allowed", "share over", "worst at", "expected", "actual")


def html(report: ParityReport) -> str:
    """Return the page. It follows the reader's light or dark colours and fits a phone."""
    return page(report.title, verdict(report), _body(report))


def html_of_many(title: str, checked: Sequence[NamedReport]) -> str:
    """Return one page of many reports: a line for each, which opens to its own report.

    Those without parity come first.
    """
    passed = sum(report is not None and report.passed for _, report, _ in checked)
    told = f"{passed} of {len(checked)} have parity"
    ordered = sorted(checked, key=lambda each: each.report is not None and each.report.passed)
    kind = "parity" if passed == len(checked) else "no_parity"
    lines = "\n".join(map(_line, ordered))
    return page(title, told, f'<div class="verdict {kind}"><b>{told}</b></div>\n{lines}')


def _line(checked: NamedReport) -> str:
    name, report, error = checked
    if report is None:
        return f"<details><summary>failed: {escape(name)}</summary><p>{escape(error)}</p></details>"
    return f"<details><summary>{verdict(report)}: {escape(name)}</summary>\n{_body(report)}</details>"


def _body(report: ParityReport) -> str:
    sections = (_verdict, _findings, _summary, _figures, _stages, _images, _environment)
    return "\n".join(part for section in sections for part in section(report))


def _verdict(report: ParityReport) -> Iterator[str]:
    told = ""
    bad = next(((c, c.first_bad_stage) for c in report.cases if c.decides and c.first_bad_stage), None)
    if report.stale is not None:
        told = escape(report.stale)
    elif report.undecided is not None:
        told = escape(f"Not decidable: {report.undecided}.")
    elif report.verdict is Verdict.PARITY:
        told = "Every stage of every case that decides is within tolerance."
    elif bad is not None and bad[1] is not None:
        column, deviation = guilty(bad[1])
        told = (
            f"First bad stage: <code>{escape(bad[1].name)}</code> at {escape(bad[0].name)}, "
            f"{column} column: {escape(sentence(deviation))}."
        )
    yield f'<div class="verdict {report.verdict.name.lower()}"><b>{verdict(report)}</b><p>{told}</p></div>'
    if notes(report):
        yield f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes(report))}</ul>"


def _findings(report: ParityReport) -> Iterator[str]:
    if not report.findings:
        return
    yield '<h2>Likely causes, most likely first</h2><ol class="findings">'
    for finding in report.findings:
        yield (
            f"<li><b>{escape(finding.cause)}</b> at <code>{escape(finding.stage)}</code>: "
            f"{escape(finding.evidence)}<br>Look at <code>{escape(finding.look_at)}</code></li>"
        )
    yield "</ol>"


def _summary(report: ParityReport) -> Iterator[str]:
    yield "<h2>Cases</h2>"
    rows = []
    for case in report.cases:
        passed = sum(stage.passed for stage in case.stages)
        role = "decides" if case.decides else "informs"
        cells = [role, str(case.batch), f"{passed} of {len(case.stages)}", error(case.worst)]
        rows.append(row(case.name, cells, bad=case.decides and not case.passed))
    yield table(("case", "role", "batch", "stages passed", "worst error"), rows)


def _figures(report: ParityReport) -> Iterator[str]:
    if not report.cases:
        return
    yield "<h2>Error against stage</h2>"
    yield (
        '<p class="soft">Largest difference of a stage over its own largest value, logarithmic. '
        "<i>Propagated</i>: each network on its own activations, what a user will see. <i>Local</i>: the "
        "stage was fed the reference's input, which names the guilty stage. An error of exactly 0 lies on "
        "the lowest line.</p>"
    )
    by_size: dict[str, list[CaseResult]] = {}
    for case in report.cases:
        by_size.setdefault(size(case), []).append(case)
    for name, cases in by_size.items():
        legend = "".join(item for case in cases for item in _legend(case.dtype))
        yield f'<h3>{escape(name)}</h3><ul class="legend">{legend}</ul><figure>{plots(cases)}</figure>'


def _legend(dtype: str) -> Iterator[str]:
    marks = {
        "propagated": '<circle class="mark propagated {0}" cx="16" cy="5" r="2.6"/>',
        "local": '<circle class="mark local {0}" cx="16" cy="5" r="2.6"/>',
        "tolerance": "",
    }
    for column, mark in marks.items():
        line = f'<polyline class="{column} {escape(dtype)}" points="1,5 31,5"/>'
        drawn = f'<svg viewBox="0 0 32 10" aria-hidden="true">{line}{mark.format(escape(dtype))}</svg>'
        yield f"<li>{drawn}{escape(dtype)} {column}</li>"


def _stages(report: ParityReport) -> Iterator[str]:
    if report.cases:
        yield "<h2>Every stage</h2>"
    for case in report.cases:
        opened = " open" if case.decides and not case.passed else ""
        first = case.first_bad_stage
        rows = (_stage_row(stage, first=stage is first) for stage in case.stages)
        yield f"<details{opened}><summary>{escape(case.name)}</summary>"
        yield table(("stage", *_HEADINGS), rows)
        yield "</details>"


def _images(report: ParityReport) -> Iterator[str]:
    if report.images:
        yield "<h2>Images</h2>"
    for image in report.images:
        yield f"<h3>{escape(image.file)}</h3><p>{escape(preparation(image), quote=False)}"
        if image.expected:
            most = error(image.probability_difference)
            yield f" Largest difference of any class's probability between the first two: {most}."
        yield "</p>"
        rows = []
        for rank, guesses in enumerate(zip(image.expected, image.actual, image.target, strict=True), 1):
            cells = [f"class {g.index}: {g.probability:.4f} {g.label}".rstrip() for g in guesses]
            rows.append(row(str(rank), cells, bad=False))
        if rows:
            yield table(("rank", "expected", "actual", "actual after timm's transform"), rows)


def _stage_row(stage: StageResult, *, first: bool) -> str:
    _, shown = guilty(stage)
    cells = [_error_cell(stage.propagated), _error_cell(stage.local), cell(bound(shown.tolerance), "n")]
    if shown.worst is None:
        cells.append(f'<td class="wrap" colspan="4">{escape(sentence(shown))}</td>')
    else:
        worst = shown.worst
        where = worst.statistic or str(worst.index)
        figures = (share(shown.share_over), where, f"{worst.expected:.9g}", f"{worst.actual:.9g}")
        cells += [cell(figure, "n") for figure in figures]
    names = " ".join(name for name, on in (("bad", not stage.passed), ("first", first)) if on)
    return f'<tr class="{names}"><th scope="row">{escape(stage.name)}</th>{"".join(cells)}</tr>'


def _error_cell(deviation: Deviation | None) -> str:
    over = deviation is not None and not deviation.passed
    return cell(relative(deviation) or "not run", "n over" if over else "n")


def _environment(report: ParityReport) -> Iterator[str]:
    if report.ledger:
        yield "<h2>Ledger</h2>"
        yield table(
            ("where the variables went", "count"),
            (row(word, [str(count)], bad=False) for word, count in report.ledger.items()),
        )
    yield "<h2>Environment</h2>"
    for side, provenance in (("Expected", report.expected), ("Actual", report.actual)):
        facts = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in _facts(provenance))
        yield f"<h3>{side}</h3><dl>{facts}</dl>"


def _facts(provenance: Provenance) -> Iterator[tuple[str, str]]:
    yield "framework", provenance.framework
    yield "source", provenance.source
    yield "versions", ", ".join(f"{name} {version}" for name, version in provenance.versions.items())
    for name in ("variant", "table_digest", "seed", "threads", "created"):
        value = getattr(provenance, name)
        if value is not None:
            yield name.replace("_", " "), str(value)
