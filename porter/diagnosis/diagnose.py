"""The likely causes of a failed check, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from porter.core.checkpoint import Array
from porter.diagnosis.clue import Clue
from porter.diagnosis.input_tests import input_clues
from porter.diagnosis.patterns import clues
from porter.diagnosis.places import look_at
from porter.diagnosis.recipes import StageFacts
from porter.diagnosis.refitting import Explanation, refit
from porter.diagnosis.symptoms import Symptom, symptoms, worst_case
from porter.diagnosis.weights import SeededWeights
from porter.parity.outcome import CaseResult, Cause, ParityReport
from porter.recordings.recording import Recording
from porter.tables.variants import Variant

_LONGEST = 3
# A stage is examined in full; of a fault that shows everywhere three stages are enough to say so.
_EXAMINED = 3
_PROOF = 0.99
_ROUNDING = 1e-3
# Below this a pattern is compatible with a cause without speaking for it.
_SUSPICION = 0.5
# Where no fault that was recomputed fits, a pattern that only suggests one is not believed before that.
_RULED_OUT = 0.89


def diagnose(
    report: ParityReport,
    expected: Recording,
    actual: Recording,
    variant: Variant | None = None,
    weights: Mapping[str, Array] | None = None,
) -> tuple[Cause, ...]:
    """Name the likely causes of a failed check, the most likely first; nothing for a passed one.

    Two kinds of evidence are used. Patterns in the numbers of the two recordings: relations between
    channels, borders, values that a smaller type could hold, sizes that pass. And recomputation: the bad
    stage is run again in numpy from the reference's own input, once for every known fault, and the fault
    that gives the other side's output to rounding is the cause. Recomputation needs the weights; those of
    recordings with a seed follow from it, so that nothing but the recordings is needed.

    Args:
        report: The outcome of the check.
        expected: The reference's recording, full or a golden.
        actual: The other side's, with or without the local column.
        variant: The table's variant, or None for networks in no table.
        weights: PyTorch's state dict as numpy arrays by name, in the network's order; None to use the
            seed that the recordings state.
    """
    case = worst_case(report)
    if report.passed or case is None:
        return ()
    if _input_is_bad(case):
        return tuple(_input_findings(case, expected, actual, variant))
    if weights is None and variant is not None and expected.provenance.seed is not None:
        weights = SeededWeights(variant, expected.provenance.seed)
    bad = list(symptoms(report, case, expected, actual))
    found: list[tuple[Clue, Symptom]] = []
    for symptom in bad[:_EXAMINED]:
        found += [(clue, symptom) for clue in _examine(symptom, variant, weights)]
    return tuple(_ordered(found, bad, variant))


def _input_is_bad(case: CaseResult) -> bool:
    return bool(case.stages) and case.stages[0].name == "input" and not case.stages[0].passed


def _input_findings(
    case: CaseResult, expected: Recording, actual: Recording, variant: Variant | None
) -> Iterator[Cause]:
    runs = [recording.run(case.name) for recording in (expected, actual)]
    sides = [np.asarray(run.input.channels_first(), np.float64) for run in runs if run is not None]
    if len(sides) == 2:
        for clue in sorted(input_clues(*sides), key=lambda clue: -clue.weight)[:_LONGEST]:
            place = look_at(clue.cause, clue.place, "input", variant)
            yield Cause(clue.cause, "input", f"{clue.evidence}.", place)


def _examine(
    symptom: Symptom, variant: Variant | None, weights: Mapping[str, Array] | None
) -> Iterator[Clue]:
    found = list(clues(symptom))
    yield from found
    if weights is None or any(clue.weight >= _PROOF for clue in found):
        return
    epsilon = variant.bn_eps.default if variant is not None and variant.bn_eps is not None else None
    matches = refit(symptom, _block(symptom, variant, weights), weights, epsilon)
    if matches is not None and not matches:
        evidence = (
            "every known fault of an argument, layout or tensor was recomputed, and none gives this output"
        )
        yield Clue("unknown", _RULED_OUT, evidence)
    for match in (matches or ())[:_LONGEST]:
        yield _clue(match)


def _clue(match: Explanation) -> Clue:
    source = (
        "the weights that follow from the table" if match.faulty == "weights" else "the reference's weights"
    )
    goal = "the reference's output" if match.faulty == "weights" else "the other side's output"
    evidence = (
        f"recomputed in numpy from {source} and the same input, the stage gives {goal} to {match.error:.1e} "
        f"of its scale with {match.hypothesis.difference}, and is off by {match.before:.1e} without"
    )
    return Clue(match.hypothesis.cause, 1.0 - min(match.left, 0.5), evidence, match.hypothesis.place)


def _block(symptom: Symptom, variant: Variant | None, weights: Mapping[str, Array]) -> StageFacts:
    stage = (
        next((s for s in variant.stages if s.name == symptom.stage), None) if variant is not None else None
    )
    modules = (symptom.stage,) if stage is None else stage.target
    held = {n: weights[n] for n in weights if any(n.startswith(f"{module}.") for module in modules)}
    given = () if symptom.input is None else symptom.input.shape
    expected_shape = symptom.expected.shape
    strided = len(given) == len(expected_shape) == 4 and expected_shape[2] > 1
    stride = max(1, round(given[2] / expected_shape[2])) if strided else 1
    own = {e.target.rpartition(".")[0]: e.bn_eps for e in variant.entries} if variant is not None else {}
    epsilons = {name: value for name, value in own.items() if value is not None}
    return StageFacts(modules, held, stride, given == expected_shape, epsilons)


def _ordered(
    found: Sequence[tuple[Clue, Symptom]], bad: list[Symptom], variant: Variant | None
) -> Iterator[Cause]:
    best: dict[str, tuple[Clue, Symptom]] = {}
    stages: dict[str, list[str]] = {}
    for clue, symptom in found:
        stages.setdefault(clue.cause, []).append(symptom.stage)
        # Of stages with the same fault the first one is reported; rounding does not make a later one better.
        if clue.cause not in best or clue.weight > best[clue.cause][0].weight + _ROUNDING:
            best[clue.cause] = (clue, symptom)
    ranked = sorted(best.values(), key=lambda pair: -pair[0].weight)
    proved = bool(ranked) and ranked[0][0].weight >= _PROOF
    if bad and (not ranked or ranked[0][0].weight < _SUSPICION):
        yield _unknown(bad[0], variant)
        ranked = ranked[: _LONGEST - 1]
    for clue, symptom in ranked[:_LONGEST]:
        if proved and clue.weight < _PROOF:
            return
        spoken = [c.evidence for c, s in found if s is symptom and c.cause == clue.cause and c is not clue]
        also = sorted(set(stages[clue.cause]) - {symptom.stage})
        more = f"; {len(bad) - 1} further stages are bad by themselves" if len(bad) > 1 else ""
        more += f", of those examined {', '.join(also)} for the same reason" if also else ""
        place = look_at(clue.cause, clue.place, symptom.stage, variant)
        yield Cause(clue.cause, symptom.stage, f"{'; '.join((clue.evidence, *spoken[:1]))}{more}.", place)


def _unknown(symptom: Symptom, variant: Variant | None) -> Cause:
    evidence = (
        f"it is off by {symptom.before:.1e} on the reference's own input, and no known fault explains how"
    )
    return Cause("unknown", symptom.stage, f"{evidence}.", look_at("", "", symptom.stage, variant))
