"""Three recordings of one network: at each stage, who disagrees with the other two?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, groupby

from porter.parity.comparison import deviation, relative_difference
from porter.parity.outcome import Deviation, Finding, Noise, Status
from porter.parity.tolerances import Tolerances
from porter.recordings.recording import Recording, Run

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Testimony:
    """What three witnesses say of one stage.

    Attributes:
        run: Name of the run, e.g. ``"float64@224x224"``.
        stage: The stage.
        distances: max|difference| / max|first| per pair of witnesses; NaN where not comparable.
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
        """The witness that neither of the others, who agree, confirms; None where there is no such one.

        Two agreeing pairs convict nobody: the distance of the third is the sum of two that pass.
        """
        if len(self.agreeing) != 1:
            return None
        (pair,) = self.agreeing
        return next(name for names in self.distances for name in names if name not in pair)


def cross_examine(
    recordings: Mapping[str, Recording], tolerances: Tolerances | None = None
) -> tuple[Testimony, ...]:
    """Compare three recordings pairwise, at every stage and run that all of them have.

    The tolerance of a pair is that of a parity check of these two. Stages at which one is constant are left
    out, as are float32 stages without a float64 run: their rounding noise is not known.

    Args:
        recordings: Witness (``"tensorflow"``, ``"torch"``, ``"onnx"``) to full recording.
        tolerances: The defaults where None.
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
                found.append(Testimony(run.name, stage, distances, agreeing))
    return tuple(found)


def verdicts(testimonies: tuple[Testimony, ...]) -> tuple[str, ...]:
    """Return one sentence per run: all agree, or who is the outlier at which stages."""
    return tuple(
        f"three witnesses, {name}: {_verdict(list(stages))}"
        for name, stages in groupby(testimonies, key=lambda testimony: testimony.run)
    )


def findings(testimonies: tuple[Testimony, ...]) -> tuple[Finding, ...]:
    """Return the first outlier of each kind as a finding: where to look first."""
    firsts: dict[str, Testimony] = {}
    for testimony in testimonies:
        if testimony.outlier is not None:
            firsts.setdefault(testimony.outlier, testimony)
    return tuple(
        Finding("outlier", testimony.stage, f"{testimony.run}: {_evidence(testimony)}", f"the {outlier} side")
        for outlier, testimony in firsts.items()
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


def _verdict(testimonies: list[Testimony]) -> str:
    if all(testimony.unanimous for testimony in testimonies):
        worst = max(distance for testimony in testimonies for distance in testimony.distances.values())
        return f"all agree at {len(testimonies)} stages (largest distance {worst:.1e})"
    return "; ".join(_accusations(testimonies))


def _accusations(testimonies: list[Testimony]) -> Iterator[str]:
    named = [(testimony.outlier, testimony) for testimony in testimonies if not testimony.unanimous]
    for outlier in dict.fromkeys(name for name, _ in named):
        stages = [testimony for name, testimony in named if name == outlier]
        where = f"at {len(stages)} of {len(testimonies)} stages, first at {stages[0].stage}"
        if outlier is None:
            yield f"no two agree against a third {where}"
        else:
            yield f"{outlier} is the outlier {where}: {_evidence(stages[0])}"


def _evidence(testimony: Testimony) -> str:
    return ", ".join(
        f"{one} and {other} are {distance:.1e} apart"
        for (one, other), distance in testimony.distances.items()
    )
