"""The likely causes of a failed check, added to its report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from porter.checks.check import Checked
from porter.core.checkpoint import Array
from porter.parity.outcome import ParityReport
from porter.tables.variants import Variant


def explained(
    checked: Checked, variant: Variant | None, weights: Mapping[str, Array] | None = None
) -> ParityReport:
    """Return the report with the likely causes of a failure; as it is if there is none.

    Args:
        checked: The outcome.
        variant: The network, if it is in a table.
        weights: PyTorch's weights by name, in PyTorch's layouts; those of the recordings' seed if None.
    """
    report = checked.report
    if report.passed or not report.cases:
        return report
    from porter.diagnosis import diagnose  # noqa: PLC0415  (a check that passes needs none of it)

    findings = diagnose(report, checked.expected, checked.actual, variant, weights)
    return replace(report, findings=(*report.findings, *findings))
