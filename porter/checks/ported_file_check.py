"""What a check says of the tensors of a ported file, beside its stages."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

from porter.diagnosis.ported_tensors import TensorDifference
from porter.parity.outcome import Cause, ParityReport
from porter.tables.variants import Variant

_SHOWN = 10


def with_tensors(report: ParityReport, variant: Variant, ported: Path, found: Path) -> ParityReport:
    """Add which tensors of the file differ from a fresh port: findings if the check failed, else notes.

    Args:
        report: The comparison of the stages.
        variant: The network.
        ported: The file that was checked.
        found: The differences that PyTorch's process wrote.
    """
    differences = [TensorDifference(**each) for each in json.loads(found.read_text())]
    findings = [
        Cause(each.cause, _stage(variant, each.tensor), f"{each.tensor} {each.evidence}", ported.name)
        for each in differences[:_SHOWN]
    ]
    if rest := differences[_SHOWN:]:
        causes = ", ".join(f"{count} {cause}" for cause, count in Counter(d.cause for d in rest).items())
        stage = _stage(variant, rest[0].tensor)
        findings.append(Cause(rest[0].cause, stage, f"and {len(rest)} more: {causes}", ported.name))
    if report.passed:
        notes = tuple(f"no stage shows it, but {each.evidence}" for each in findings)
        return replace(report, notes=(*report.notes, *notes))
    return replace(report, findings=(*findings, *report.findings))


def _stage(variant: Variant, tensor: str) -> str:
    """Return the stage that a tensor belongs to, or the last one."""
    for stage in variant.stages:
        if any(tensor.startswith(f"{module}.") for module in stage.target):
            return stage.name
    return variant.stages[-1].name
