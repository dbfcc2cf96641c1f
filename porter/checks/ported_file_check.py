"""What a check says of the tensors of a ported file, beside its stages."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from porter.diagnosis.ported_tensors import TensorDifference
from porter.parity.outcome import Cause, ParityReport

_SHOWN = 10


def with_tensors(
    report: ParityReport, stages: Mapping[str, Sequence[str]], ported: Path, found: Path
) -> ParityReport:
    """Add which tensors of the file differ from a fresh port: findings if the check failed, else notes.

    Args:
        report: The comparison of the stages.
        stages: Stage to PyTorch modules, in forward order.
        ported: The file that was checked.
        found: The differences that PyTorch's process wrote.
    """
    differences = read_differences(found)
    findings = [
        Cause(
            each.cause,
            stage_of(stages, each.timm or each.tensor),
            f"{each.tensor} {each.evidence}",
            ported.name,
        )
        for each in differences[:_SHOWN]
    ]
    if rest := differences[_SHOWN:]:
        causes = ", ".join(f"{count} {cause}" for cause, count in Counter(d.cause for d in rest).items())
        stage = stage_of(stages, rest[0].timm or rest[0].tensor)
        findings.append(Cause(rest[0].cause, stage, f"and {len(rest)} more: {causes}", ported.name))
    if report.passed:
        notes = tuple(f"no stage shows it, but {each.evidence}" for each in findings)
        return replace(report, notes=(*report.notes, *notes))
    return replace(report, findings=(*findings, *report.findings))


def read_differences(found: Path) -> list[TensorDifference]:
    """Read what PyTorch's process wrote of the tensors that differ."""
    return [TensorDifference(**each) for each in json.loads(found.read_text(encoding="utf-8"))]


def stage_of(stages: Mapping[str, Sequence[str]], tensor: str) -> str:
    """Return the stage that a tensor belongs to, or the last one."""
    for stage, modules in stages.items():
        if any(tensor.startswith(f"{module}.") for module in modules):
            return stage
    return list(stages)[-1]
