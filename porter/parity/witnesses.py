"""Three recordings of one network: at each stage, who disagrees with the other two?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, groupby

from porter.parity.comparison import deviation, relative_difference
from porter.parity.outcome import Cause, Deviation, Noise, Status
from porter.parity.tolerances import Tolerances
from porter.recordings.recording import Recording, Run

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class StageComparison:
    """What three witnesses say of one stage.

    Attributes:
        run: Name of the run, e.g. ``"float64@224x224"``.
        stage: The stage.
        distances: max|difference| / max|first| per pair of witnesses; NaN if not comparable.
        agreeing: The pairs within tolerance.
    """

    run: str
    stage: str
    distances: Mapping[Pair, float]
    agreeing: frozenset[Pair]

    @property
    def unanimous(self) -> bool:
        """Whether every pair agrees."""
        return len(self.agreeing) == len(self.distances)

    @property
    def outlier(self) -> str | None:
        """The witness that neither of the others, who agree, confirms; None if there is no such one.

        Two agreeing pairs name no outlier: the distance of the third is the sum of two that pass.
        """
        if len(self.agreeing) != 1:
            return None
        (pair,) = self.agreeing
        return next(name for names in self.distances for name in names if name not in pair)


def compare_outputs(
    recordings: Mapping[str, Recording], tolerances: Tolerances | None = None
) -> tuple[StageComparison, ...]:
    """Compare three recordings pairwise, at every stage and run that all of them have.

    The tolerance of a pair is that of a parity check of these two. Stages at which one is constant are left
    out, as are float32 stages without a float64 run: their rounding noise is not known.

    Args:
        recordings: Witness (``"tensorflow"``, ``"torch"``, ``"onnx"``) to full recording.
        tolerances: The defaults if None.
    """
    bounds = tolerances or Tolerances()
    first, *others = recordings.values()
    found = []
    for run in first.runs:
        if not all(other.run(run.name) for other in others):
            continue
        for stage in run.stages:
            deviations = _deviations(recordings, run, stage, bounds)
            if deviations and all(d.status is not Status.CONSTANT for d in deviations.values()):
                distances = {pair: d.relative for pair, d in deviations.items()}
                agreeing = frozenset(pair for pair, d in deviations.items() if d.passed)
                found.append(StageComparison(run.name, stage, distances, agreeing))
    return tuple(found)


def summaries(compared: tuple[StageComparison, ...]) -> tuple[str, ...]:
    """Return one sentence per run: all agree, or who is the outlier at which stages."""
    return tuple(
        f"three witnesses, {name}: {_summary(list(stages))}"
        for name, stages in groupby(compared, key=lambda stage: stage.run)
    )


def findings(compared: tuple[StageComparison, ...]) -> tuple[Cause, ...]:
    """Return the first outlier of each kind as a finding: where to look first."""
    firsts: dict[str, StageComparison] = {}
    for stage in compared:
        if stage.outlier is not None:
            firsts.setdefault(stage.outlier, stage)
    return tuple(
        Cause("outlier", stage.stage, f"{stage.run}: {_evidence(stage)}", f"the {outlier} side")
        for outlier, stage in firsts.items()
    )


def _deviations(
    recordings: Mapping[str, Recording], run: Run, stage: str, bounds: Tolerances
) -> dict[Pair, Deviation]:
    runs = {name: found for name, recording in recordings.items() if (found := recording.run(run.name))}
    if not all(stage in found.stages for found in runs.values()):
        return {}
    noises = {name: _noise(recordings[name], found, stage) for name, found in runs.items()}
    deviations = {}
    for one, other in combinations(runs, 2):
        first, second = noises[one], noises[other]
        noise = None if first is None or second is None else Noise(first, second)
        if noise is None and run.dtype != "float64":
            return {}
        tolerance = bounds.of(stage, run.dtype, noise)
        deviations[one, other] = deviation(runs[one].stages[stage], runs[other].stages[stage], tolerance)
    return deviations


def _noise(recording: Recording, run: Run, stage: str) -> float | None:
    wide = recording.run(run.name.replace(run.dtype, "float64", 1))
    if run.dtype == "float64" or wide is None or stage not in wide.stages:
        return None
    return relative_difference(wide.stages[stage], run.stages[stage])


def _summary(compared: list[StageComparison]) -> str:
    if all(stage.unanimous for stage in compared):
        worst = max(distance for stage in compared for distance in stage.distances.values())
        return f"all agree at {len(compared)} stages (largest distance {worst:.1e})"
    return "; ".join(_outliers(compared))


def _outliers(compared: list[StageComparison]) -> Iterator[str]:
    named = [(stage.outlier, stage) for stage in compared if not stage.unanimous]
    for outlier in dict.fromkeys(name for name, _ in named):
        stages = [stage for name, stage in named if name == outlier]
        where = f"at {len(stages)} of {len(compared)} stages, first at {stages[0].stage}"
        if outlier is None:
            yield f"no two agree against a third {where}"
        else:
            yield f"{outlier} is the outlier {where}: {_evidence(stages[0])}"


def _evidence(stage: StageComparison) -> str:
    return ", ".join(
        f"{one} and {other} are {distance:.1e} apart" for (one, other), distance in stage.distances.items()
    )
