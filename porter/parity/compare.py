"""Comparing two recordings, stage by stage."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from porter.parity.comparison import deviation, relative_difference
from porter.parity.outcome import CaseResult, Deviation, Noise, ParityReport, StageResult, Status
from porter.parity.tolerances import DEFAULT_RTOL, Tolerances
from porter.recordings.activation import Activation
from porter.recordings.recording import Recording, Run, narrowest

INPUT = "input"


def compare(
    expected: Recording,
    actual: Recording,
    *,
    tolerances: Tolerances | None = None,
    stages: Sequence[str] | None = None,
    title: str | None = None,
) -> ParityReport:
    """Compare two recordings of what should be the same network.

    Runs are paired by element type and size (``"float64@224x224"``); if each side has one run only, these
    two are paired. float64 decides and other types inform. If no pair is float64 on both sides, the verdict
    is "not decidable", or "no parity" if something cannot be compared at all: float32 cannot tell a small
    fault from rounding (a wrong epsilon moves an attention network by 4e-4, correct rounding by 2e-4). Only
    where the reference cannot compute in float64 at all does float32 decide, if the other side's rounding
    noise was measured at every stage.

    Args:
        expected: The reference. May be a golden, whose stages are samples.
        actual: The other side. If it has local activations, both columns are compared.
        tolerances: The defaults if None.
        stages: Compare these only; all that either side has if None.
        title: What is compared, in words.

    Returns:
        Every stage of every run; what is missing, extra, misshapen, not finite or constant is in it too.

    Example:
        >>> images = np.random.default_rng(0).random((2, 8, 8, 3))
        >>> stages = {"stem": images[:, ::2, ::2], "logits": images.mean((1, 2))}
        >>> expected = porter.Recording.from_arrays(images, stages, layout="NHWC", framework="tensorflow")
        >>> stages["logits"] = stages["logits"] + 1e-6
        >>> actual = porter.Recording.from_arrays(images, stages, layout="NHWC", framework="torch")
        >>> porter.compare(expected, actual, title="my network")
        ParityReport of my network
          no parity: logits
          float64@8x8: 2 of 3 stages passed, worst 1.8e-06
    """
    comparer = _Comparer(expected, actual, tolerances or Tolerances(), stages)
    cases = [comparer.case(run, other) for run, other in _pairs(expected, actual)]
    if not any(case.decides for case in cases):
        cases = [replace(case, decides=case.differs_in_kind) for case in cases]
    return ParityReport(
        title=title or f"{actual.provenance.source} against {expected.provenance.source}",
        expected=expected.provenance,
        actual=actual.provenance,
        cases=tuple(cases),
        notes=(*expected.provenance.notes, *actual.provenance.notes),
    )


def _pairs(expected: Recording, actual: Recording) -> Iterator[tuple[Run, Run]]:
    """Pair runs by name; a run that only one side has is paired with an empty one."""
    if len(expected.runs) == len(actual.runs) == 1:
        yield expected.runs[0], actual.runs[0]
        return
    for run in expected.runs:
        yield run, actual.run(run.name) or Run(run.dtype, run.input, {})
    for run in actual.runs:
        impossible = expected.provenance.lacks_float64 and run.dtype == "float64"
        if expected.run(run.name) is None and not impossible:
            yield Run(run.dtype, run.input, {}), run


class _Comparer:
    """Compares the runs of two recordings."""

    def __init__(
        self, expected: Recording, actual: Recording, tolerances: Tolerances, stages: Sequence[str] | None
    ) -> None:
        self._expected = expected
        self._actual = actual
        self._tolerances = tolerances
        self._only = stages

    def case(self, expected: Run, actual: Run) -> CaseResult:
        dtype = narrowest((expected.dtype, actual.dtype))
        twins = self._twins(expected, actual)
        names = self._only or list(dict.fromkeys([*expected.stages, *actual.stages]))
        results = [
            StageResult(
                INPUT, deviation(expected.input, actual.input, self._tolerances.of(INPUT, dtype, None))
            )
        ]
        for name in names:
            noise = _noise(expected, actual, twins, name)
            tolerance = self._tolerances.of(name, dtype, noise)
            wanted = expected.stages.get(name)
            propagated = _column(wanted, actual.stages.get(name), tolerance)
            local = _column(wanted, actual.local.get(name), tolerance) if actual.local else None
            results.append(StageResult(name, propagated, local, noise))
        return CaseResult(
            expected.name,
            dtype,
            expected.size,
            expected.input.shape[0],
            decides=dtype == "float64" or self._measured_instead(dtype, results),
            stages=tuple(results),
        )

    def _measured_instead(self, dtype: str, results: Sequence[StageResult]) -> bool:
        """Whether float32 decides: there can be no float64, and all rounding was measured and is small."""
        if not self._expected.provenance.lacks_float64 or dtype != "float32":
            return False
        largest = DEFAULT_RTOL["float32"]
        return all(each.noise and each.propagated.tolerance <= largest for each in results[1:])

    def _twins(self, expected: Run, actual: Run) -> tuple[Run | None, Run] | None:
        """Return the float64 runs on the same input, or None; the reference may be unable to have one."""
        if expected.dtype == "float64" or expected.dtype != actual.dtype:
            return None
        name = expected.name.replace(expected.dtype, "float64", 1)
        first, second = self._expected.run(name), self._actual.run(name)
        if second is None or (first is None and not self._expected.provenance.lacks_float64):
            return None
        return first, second


def _column(expected: Activation | None, actual: Activation | None, tolerance: float) -> Deviation:
    if expected is None:
        return Deviation(Status.EXTRA, tolerance, detail="the expected recording has no such stage")
    if actual is None:
        return Deviation(Status.MISSING, tolerance, detail="the actual recording has no such stage")
    return deviation(expected, actual, tolerance)


def _noise(expected: Run, actual: Run, twins: tuple[Run | None, Run] | None, stage: str) -> Noise | None:
    """Measure |narrow - float64| / max|float64| on each side that has float64."""
    if twins is None:
        return None
    sides: list[float | None] = []
    for narrow, wide in ((expected, twins[0]), (actual, twins[1])):
        if wide is None:
            sides.append(math.nan)
            continue
        if stage not in narrow.stages or stage not in wide.stages or wide.stages[stage].is_sample:
            return None
        sides.append(relative_difference(wide.stages[stage], narrow.stages[stage]))
    first, second = sides
    return None if first is None or second is None else Noise(first, second)
