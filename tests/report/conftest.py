"""Reports of the size and shape of a real check, made without any framework."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from porter.parity.outcome import (
    CaseResult,
    Cause,
    Deviation,
    Noise,
    ParityReport,
    StageResult,
    Status,
    Worst,
)
from porter.recordings.recording import Provenance
from porter.report.named_report import NamedReport

STAGES = ("input", "stem", *(f"blocks.{i}.{j}" for i in range(4) for j in range(9)), "head", "logits")
BAD = "blocks.1.2"


def deviation(relative: float, tolerance: float) -> Deviation:
    """A comparison of 4,800 elements that came out at `relative`."""
    scale = 1.75
    status = Status.PASSED if relative <= tolerance else Status.OVER
    worst = Worst((0, 131, 13, 7), None, -1.25, -1.25 + relative * scale)
    return Deviation(
        status,
        tolerance,
        4800,
        relative * scale,
        scale,
        0.0 if status is Status.PASSED else 0.4321,
        worst,
    )


def case(dtype: str, size: int, fault_at: str | None) -> CaseResult:
    """All stages at one size; from `fault_at` on the propagated column is off, the local one there only."""
    noise, allowed = (1e-14, 1e-11) if dtype == "float64" else (2e-7, 8e-5)
    stages = []
    broken = False
    for i, name in enumerate(STAGES):
        broken |= name == fault_at
        small = noise * (1 + i % 5)
        propagated = deviation(
            0.31 / (1 + i % 3) if broken else (small * i if name != "input" else 0.0), allowed
        )
        local = None if name == "input" else deviation(0.28 if name == fault_at else small, allowed)
        measured = Noise(3e-6, 2e-6) if dtype == "float32" else None
        stages.append(StageResult(name, propagated, local, measured))
    return CaseResult(f"{dtype}@{size}x{size}", dtype, (size, size), 2, dtype == "float64", tuple(stages))


@pytest.fixture
def make_report() -> Callable[[str | None], ParityReport]:
    """A function that makes a report whose fault, if any, is at the stage named."""

    def make(fault_at: str | None) -> ParityReport:
        sizes = (224, 225, 200)
        return ParityReport(
            "mobilenetv4_hybrid_medium: TensorFlow against torch",
            Provenance(
                "tensorflow",
                "model_garden.mobilenet MobileNetV4HybridMedium, random weights of seed 0",
                {"tensorflow": "2.20.0", "tf-models-official": "2.20.0", "numpy": "2.4.6"},
                seed=0,
                threads=2,
            ),
            Provenance(
                "torch",
                "timm mobilenetv4_hybrid_medium(pad_type=same)",
                {"torch": "2.15.0", "timm": "1.0.31"},
            ),
            tuple(
                case(dtype, size, fault_at if size != 225 else None)
                for dtype in ("float64", "float32")
                for size in sizes
            ),
            ("TensorFlow restored the weights itself.",),
            ledger={"mapped": 536, "optimizer": 2, "bookkeeping": 1},
            findings=()
            if fault_at is None
            else (
                Cause(
                    "padding",
                    fault_at,
                    "at 224 and 200 it is off by 2.8e-01, at 225 it agrees to 1.0e-14 & its stride is <2>",
                    'pad_type="same" in [target] of mappings/model_garden/mobilenet_v4.toml',
                ),
            ),
        )

    return make


@pytest.fixture
def passing(make_report) -> ParityReport:
    """A check that found parity."""
    return make_report(None)


@pytest.fixture
def failing(make_report) -> ParityReport:
    """A check with a padding fault in one block."""
    return make_report(BAD)


@pytest.fixture
def broken(failing) -> ParityReport:
    """A check in which nothing could be compared at one stage, once for every reason there is."""
    statuses = [s for s in Status if s not in (Status.PASSED, Status.OVER)]
    first = failing.cases[0]
    stages = [
        StageResult(f"stage.{status.name}", Deviation(status, 1e-11, detail=f"because of {status.value}."))
        for status in statuses
    ]
    return replace(failing, cases=(replace(first, stages=tuple(stages)),))


@pytest.fixture
def undecided(passing) -> ParityReport:
    """A check without a float64 run: whatever it found, it proves nothing."""
    cases = tuple(c for c in passing.cases if c.dtype == "float32")
    return replace(passing, cases=cases)


@pytest.fixture
def many(passing, failing):
    """A checkpoint in parity, one that is not, and one that could not be checked; names need escaping."""
    return [
        NamedReport("a<b>.h5", passing),
        NamedReport("bad.h5", failing),
        NamedReport("c.h5", None, "is <junk>"),
    ]
