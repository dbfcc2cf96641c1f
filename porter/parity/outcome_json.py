"""The cases of a parity report as data for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from porter.parity.outcome import CaseResult, Deviation, StageResult


def case_json(case: CaseResult) -> dict[str, Any]:
    """Return one case as data for JSON."""
    bad = case.first_bad_stage
    return {
        "name": case.name,
        "dtype": case.dtype,
        "size": list(case.size),
        "batch": case.batch,
        "decides": case.decides,
        "passed": case.passed,
        "worst_relative": case.worst,
        "first_bad_stage": None if bad is None else bad.name,
        "stages": [_stage_json(stage) for stage in case.stages],
    }


def _stage_json(stage: StageResult) -> dict[str, Any]:
    return {
        "name": stage.name,
        "passed": stage.passed,
        "propagated": _deviation_json(stage.propagated),
        "local": None if stage.local is None else _deviation_json(stage.local),
        "noise": None if stage.noise is None else asdict(stage.noise),
    }


def _deviation_json(deviation: Deviation) -> dict[str, Any]:
    return {**asdict(deviation), "status": deviation.status.value, "relative": deviation.relative}


def jsonable(value: Any) -> Any:
    """Return `value` with lists for tuples and null for what JSON has no number for."""
    if isinstance(value, Mapping):
        return {key: jsonable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
