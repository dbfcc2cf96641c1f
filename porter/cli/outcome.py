"""What both checking commands do with an outcome: find the cause of a failure, write report files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from porter.checks.check import Check, Checked
from porter.parity.outcome import ParityReport
from porter.tables.variants import Tables
from porter.transfer.atomic_file import write_whole


def explained(checked: Checked, tables: Tables, check: Check | None = None) -> ParityReport:
    """Return the report with the likely causes of a failure; as it is where there is none.

    Args:
        checked: The outcome.
        tables: Known networks.
        check: What was checked, where the weights came from a checkpoint.
    """
    report, name = checked.report, checked.expected.provenance.variant
    if report.passed or not report.cases:
        return report
    from porter.diagnosis import diagnose

    sides = checked.expected, checked.actual
    if check is None or check.checkpoint is None:
        variant = None if name is None else tables.variant(name)
        return replace(report, findings=diagnose(report, *sides, variant))
    from porter.diagnosis.weights import PlannedWeights

    job = check.job(Path(), Path(), local=False)
    with job.open_weights() as checkpoint:
        weights = PlannedWeights(checkpoint, job.plan(checkpoint))
        return replace(report, findings=diagnose(report, *sides, check.variant, weights))


def write_reports(report: ParityReport, junit: Path | None, html: Path | None) -> None:
    """Write the report to the files that were asked for.

    Raises:
        OutputError: one of them cannot be written.
    """
    if junit is not None:
        from porter.report.junit import junit as to_junit

        write_whole(junit, to_junit(report))
    if html is not None:
        from porter.report.html import html as to_html

        write_whole(html, to_html(report))
