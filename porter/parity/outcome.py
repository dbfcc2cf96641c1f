"""The outcome of a parity check, as data. Formatting lives in `porter.report`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from porter.parity.outcome_json import case_json, jsonable
from porter.recordings.recording import Provenance

SCHEMA = "porter-parity-report"
SCHEMA_VERSION = 1


class Status(StrEnum):
    """What became of one comparison. Only `PASSED` is good."""

    PASSED = "passed"
    OVER = "over tolerance"
    MISSING = "missing"
    EXTRA = "extra"
    SHAPE = "different shape"
    NONFINITE = "not finite"
    CONSTANT = "constant"


class Verdict(StrEnum):
    """The answer of a whole check. Only `PARITY` is good.

    `UNDECIDED` is neither: no float64 run on both sides, so that rounding may explain what differs.
    """

    PARITY = "parity"
    NO_PARITY = "no parity"
    STALE = "stale"
    NOTHING = "nothing compared"
    UNDECIDED = "not decidable"


@dataclass(frozen=True, slots=True)
class Worst:
    """The element, or the statistic, with the largest absolute difference.

    Attributes:
        index: Position in channels-first order, e.g. (n, c, h, w); None if a statistic is the worst.
        statistic: Name of the statistic, e.g. ``"std"``; None if an element is the worst.
        expected: The reference's value.
        actual: The other side's value.
    """

    index: tuple[int, ...] | None
    statistic: str | None
    expected: float
    actual: float


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far one activation is from its reference.

    Attributes:
        status: The outcome.
        tolerance: Largest `relative` that passes.
        compared: Number of elements compared (0 if nothing could be).
        max_abs: max|actual - expected|, in the activation's units; NaN if nothing could be compared.
        scale: max|expected|, the stage's own scale.
        share_over: Share of the compared elements whose difference exceeds tolerance x scale, 0..1.
        worst: Where `max_abs` is; None if nothing could be compared.
        detail: One sentence for every status but `PASSED` and `OVER`; else "".
    """

    status: Status
    tolerance: float
    compared: int = 0
    max_abs: float = math.nan
    scale: float = math.nan
    share_over: float = math.nan
    worst: Worst | None = None
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether the comparison was made and is within tolerance."""
        return self.status is Status.PASSED

    @property
    def relative(self) -> float:
        """max_abs / scale: also the smallest tolerance that would have passed. NaN if not compared."""
        return self.max_abs / self.scale if self.scale > 0 else math.nan


@dataclass(frozen=True, slots=True)
class Noise:
    """Measured rounding noise of a stage, max|float32 run - float64 run| / max|float64 run| per framework.

    NaN for a framework that cannot compute the network in float64.
    """

    expected: float
    actual: float


@dataclass(frozen=True, slots=True)
class StageResult:
    """One stage at one size and element type.

    Attributes:
        name: The stage; ``"input"`` is what the networks were given.
        propagated: Each network ran on its own activations: what a user will see.
        local: The stage was fed the reference's input of that stage: which stage is guilty. None if
            that was not run (the input itself, goldens, recordings without it).
        noise: Where the float32 tolerance comes from; None in float64.
    """

    name: str
    propagated: Deviation
    local: Deviation | None = None
    noise: Noise | None = None

    @property
    def passed(self) -> bool:
        """Whether every column that was run passed."""
        return self.propagated.passed and (self.local is None or self.local.passed)


@dataclass(frozen=True, slots=True)
class CaseResult:
    """All stages at one size and element type.

    Attributes:
        name: The run's name, e.g. ``"float64@224x224"``.
        dtype: Element type computed in.
        size: Spatial size of the input.
        batch: Number of images.
        decides: Whether the verdict rests on it; otherwise it informs.
        stages: In execution order, the input first.
    """

    name: str
    dtype: str
    size: tuple[int, ...]
    batch: int
    decides: bool
    stages: tuple[StageResult, ...]

    @property
    def passed(self) -> bool:
        """Whether every stage passed and there was at least one stage besides the input."""
        return len(self.stages) > 1 and all(stage.passed for stage in self.stages)

    @property
    def differs_in_kind(self) -> bool:
        """Whether more than rounding is wrong: another input, or a stage that could not be compared."""
        return (
            len(self.stages) < 2
            or not self.stages[0].passed
            or any(
                not deviation.passed and not deviation.compared
                for stage in self.stages
                for deviation in (stage.propagated, stage.local)
                if deviation is not None
            )
        )

    @property
    def first_bad_stage(self) -> StageResult | None:
        """The guilty stage, or None.

        That is the first stage that deviates although it was given the reference's own input; if no
        stage does, or that column was not run, the first one that deviates at all.
        """
        local = (stage for stage in self.stages if stage.local is not None and not stage.local.passed)
        return next(local, None) or next((stage for stage in self.stages if not stage.passed), None)

    @property
    def worst(self) -> float:
        """Largest relative deviation of any stage and column; NaN if one could not be compared."""
        values = [d.relative for stage in self.stages for d in (stage.propagated, stage.local) if d]
        return math.nan if not values or any(map(math.isnan, values)) else max(values)


@dataclass(frozen=True, slots=True)
class Cause:
    """A likely cause of a failure.

    Attributes:
        cause: Stable code, e.g. ``"padding"``.
        stage: The stage it explains.
        evidence: One sentence with the numbers that speak for it.
        look_at: Where to look: table file, block, rule or argument.
    """

    cause: str
    stage: str
    evidence: str
    look_at: str


@dataclass(frozen=True, slots=True)
class ClassProbability:
    """One class, the probability that a network gives it, and its name if that is known."""

    index: int
    probability: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class ImageResult:
    """One real image. It informs; the verdict rests on the stages.

    Attributes:
        file: Name of the image file.
        source_difference: max|difference| between porter's preparation of the image, which both networks
            were given, and the source's own; in normalised units. It is the difference of JPEG decoders.
            None if the source has no code that prepares images.
        target_difference: The same between timm's own transform and the source's, or else porter's.
        expected: Five best classes of the reference.
        actual: Five best classes of the ported network on the same pixels.
        target: Five best classes of the ported network after timm's own transform.
        probability_difference: The largest difference of any class between reference and port, on the same
            pixels; 0 if the network has no classes.
    """

    file: str
    source_difference: float | None
    target_difference: float
    expected: tuple[ClassProbability, ...]
    actual: tuple[ClassProbability, ...]
    target: tuple[ClassProbability, ...]
    probability_difference: float = 0.0


@dataclass(frozen=True, slots=True, repr=False)
class ParityReport:
    """The whole check.

    Attributes:
        title: What was checked, in words.
        expected: Provenance of the reference.
        actual: Provenance of the other side.
        cases: One per element type and size.
        notes: Sentences the reader must know (fallbacks, replaced constants, staleness).
        stale: Why the reference no longer belongs to the table, or None.
        ledger: Where every source variable and target tensor went, counted; empty if nothing was ported.
        findings: Likely causes, most likely first; filled by the diagnosis.
        images: One per real image that was asked for.
    """

    title: str
    expected: Provenance
    actual: Provenance
    cases: tuple[CaseResult, ...]
    notes: tuple[str, ...] = ()
    stale: str | None = None
    ledger: Mapping[str, int] = field(default_factory=dict)
    findings: tuple[Cause, ...] = ()
    images: tuple[ImageResult, ...] = ()

    def __repr__(self) -> str:
        """Say in a few lines what was compared and how it came out."""
        reason = self.stale or self.undecided or self.first_bad_stage
        lines = [f"ParityReport of {self.title}", f"  {self.verdict}" + (f": {reason}" if reason else "")]
        for case in self.cases:
            passed = sum(stage.passed for stage in case.stages)
            lines.append(
                f"  {case.name}: {passed} of {len(case.stages)} stages passed, worst {case.worst:.1e}"
            )
        return "\n".join(lines)

    @property
    def verdict(self) -> Verdict:
        """The answer; rests on the deciding cases alone."""
        if self.stale is not None:
            return Verdict.STALE
        deciding = [case for case in self.cases if case.decides]
        if deciding:
            return Verdict.PARITY if all(case.passed for case in deciding) else Verdict.NO_PARITY
        return Verdict.UNDECIDED if self.cases else Verdict.NOTHING

    @property
    def undecided(self) -> str | None:
        """Why the check can be neither passed nor failed, and what would decide it; None if it is decided."""
        if self.verdict is not Verdict.UNDECIDED:
            return None
        stages = [(s.propagated.relative, s.name) for case in self.cases for s in case.stages[1:]]
        largest, stage = max(stages)
        dtypes = ", ".join(dict.fromkeys(case.dtype for case in self.cases))
        return (
            f"only {dtypes} was compared, whose rounding can hide a fault or look like one (largest "
            f"difference {largest:.1e}, at {stage}); record a float64 run on both sides"
        )

    @property
    def passed(self) -> bool:
        """Whether the verdict is parity."""
        return self.verdict is Verdict.PARITY

    @property
    def first_bad_stage(self) -> str | None:
        """Name of the first bad stage of the first failing case that decides, or None."""
        for case in self.cases:
            bad = case.first_bad_stage if case.decides else None
            if bad is not None:
                return bad.name
        return None

    def deviations(self) -> Iterator[tuple[CaseResult, StageResult, str, Deviation]]:
        """Yield every (case, stage, column, deviation); columns are ``"propagated"`` and ``"local"``."""
        for case in self.cases:
            for stage in case.stages:
                yield case, stage, "propagated", stage.propagated
                if stage.local is not None:
                    yield case, stage, "local", stage.local

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON-ready data; the schema is described in docs/parity-report.md.

        Numbers that do not exist (nothing was compared) are null, as are NaN and infinities.
        """
        document = {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "title": self.title,
            "verdict": self.verdict.value,
            "first_bad_stage": self.first_bad_stage,
            "stale": self.stale,
            "undecided": self.undecided,
            "notes": list(self.notes),
            "expected": asdict(self.expected),
            "actual": asdict(self.actual),
            "ledger": dict(self.ledger),
            "findings": [asdict(finding) for finding in self.findings],
            "images": [asdict(image) for image in self.images],
            "cases": [case_json(case) for case in self.cases],
        }
        return {key: jsonable(value) for key, value in document.items()}
