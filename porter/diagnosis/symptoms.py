"""What the recordings say about a bad stage: its input, both outputs, and at which sizes it fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from porter.core.checkpoint import Array
from porter.diagnosis.arithmetic import Values
from porter.parity.outcome import CaseResult, ParityReport, StageResult
from porter.recordings.activation import Activation
from porter.recordings.recording import Recording, Run


@dataclass(frozen=True, slots=True)
class Side:
    """One side's output of a stage, channels first: all of it, or a sample.

    Attributes:
        values: The full array in float64; for a sample the sampled elements, 1-D.
        indices: Flat positions of a sample in the full array, or None.
        shape: Shape of the full array.
    """

    values: Values
    indices: Array | None
    shape: tuple[int, ...]

    @classmethod
    def of(cls, activation: Activation) -> Side:
        """Wrap an activation."""
        if activation.is_sample:
            values = np.asarray(activation.values, np.float64)
            return cls(values, activation.positions(), activation.canonical_shape)
        full = np.asarray(activation.channels_first(), np.float64)
        return cls(full, None, full.shape)

    def first_image(self) -> Side:
        """Return the first image alone; a sample stays whole, for its positions count all images."""
        if self.indices is not None:
            return self
        return Side(self.values[:1], None, (1, *self.shape[1:]))

    @property
    def scale(self) -> float:
        """max|values| of what is finite."""
        return float(np.abs(self.values[np.isfinite(self.values)]).max(initial=0.0))

    def error(self, out: Values) -> float:
        """Return max|out - this| over this side's scale; 1 or more if shapes or NaNs differ."""
        picked = self._pick(out)
        if picked is None:
            return np.inf
        known = np.isfinite(self.values)
        if not np.array_equal(known, np.isfinite(picked)):
            return np.inf
        if not known.any():
            return 0.0
        return float(np.abs(picked - self.values)[known].max()) / (self.scale or 1.0)

    def along(self, out: Values, base: Values) -> float:
        """Return the projection of `out` - `base` onto this side's - `base`: 0 none, 1 all."""
        picked, start = self._pick(out), self._pick(base)
        if picked is None or start is None:
            return np.nan
        way = self.values - start
        return float(((picked - start) * way).sum() / (way * way).sum())

    def _pick(self, out: Values) -> Values | None:
        if out.size != int(np.prod(self.shape)):
            return None
        return out.reshape(self.shape) if self.indices is None else out.ravel()[self.indices]


@dataclass(frozen=True, slots=True)
class Symptom:
    """One stage that deviates.

    Attributes:
        stage: Its name.
        dtype: Element type that was computed in.
        input: The reference's input of the stage in float64, channels first; None if only a sample of
            it is known.
        expected: The reference's output.
        actual: The other side's output on the same input, or on its own if that was not run.
        sizes: Input size to whether the stage passed there, over all cases of the element type.
        result: What the report says about the stage.
    """

    stage: str
    dtype: str
    input: Values | None
    expected: Side
    actual: Side
    sizes: dict[tuple[int, ...], bool]
    result: StageResult

    @property
    def noise(self) -> float:
        """Relative rounding noise to expect of a recomputation in float64."""
        return 1e-11 if self.dtype == "float64" else 1e-4

    @property
    def before(self) -> float:
        """The deviation: max|actual - expected| over the reference's scale."""
        if self.expected.indices is None and self.actual.indices is None:
            return self.expected.error(self.actual.values)
        return np.inf

    def single(self) -> Symptom:
        """Return the first image alone, which is as good as many and cheaper to recompute."""
        if self.input is None or self.both() is None:
            return self
        expected, actual = self.expected.first_image(), self.actual.first_image()
        return replace(self, input=self.input[:1], expected=expected, actual=actual)

    def both(self) -> tuple[Values, Values] | None:
        """Return the full outputs (expected, actual), or None if shapes differ or one is a sample."""
        if self.expected.indices is not None or self.actual.indices is not None:
            return None
        same = self.expected.values.shape == self.actual.values.shape
        return (self.expected.values, self.actual.values) if same else None


def worst_case(report: ParityReport) -> CaseResult | None:
    """Return the failing case to examine: one that decides, with few pixels, because it is recomputed."""
    failing = [case for case in report.cases if not case.passed]
    deciding = [case for case in failing if case.decides] or failing
    return min(deciding, key=lambda case: int(np.prod(case.size)), default=None)


def symptoms(
    report: ParityReport, case: CaseResult, expected: Recording, actual: Recording
) -> Iterator[Symptom]:
    """Yield the stages that deviate by themselves; only the first bad one if that was not measured."""
    run, other = expected.run(case.name), actual.run(case.name)
    if run is None or other is None:
        return
    local = any(stage.local is not None for stage in case.stages)
    bad = [stage for stage in case.stages if stage.local is not None and not stage.local.passed]
    if not local and case.first_bad_stage is not None:
        bad = [case.first_bad_stage]
    for stage in bad:
        if stage.name in run.stages and stage.name in (other.local or other.stages):
            yield _symptom(report, case, stage, run, other)


def _symptom(report: ParityReport, case: CaseResult, stage: StageResult, run: Run, other: Run) -> Symptom:
    expected = run.stages[stage.name]
    actual = other.local.get(stage.name) or other.stages[stage.name]
    before = _before(stage.name, run, other)
    given = None if before is None else np.asarray(before.channels_first(), np.float64)
    sizes = {
        each.size: result.passed
        for each in report.cases
        for result in each.stages
        if each.dtype == case.dtype and result.name == stage.name
    }
    return Symptom(stage.name, case.dtype, given, Side.of(expected), Side.of(actual), sizes, stage)


def _before(stage: str, run: Run, other: Run) -> Activation | None:
    """Return the activation that the stage was given, in full, or None."""
    names = list(run.stages)
    index = names.index(stage)
    given = run.input if index == 0 else run.stages[names[index - 1]]
    if given.is_sample:
        # A golden knows a sample; up to the first bad stage the other side's own activation is the same.
        given = other.input if index == 0 else other.stages.get(names[index - 1], given)
    return None if given.is_sample else given
