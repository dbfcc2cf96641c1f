"""Diagnosis by recomputation: which fault in one side's stage gives exactly the other side's output."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from porter.core.checkpoint import Array
from porter.diagnosis.arithmetic import Padding, Values
from porter.diagnosis.hypotheses import Hypothesis, unusual, usual
from porter.diagnosis.program import BatchNorm, Machine, Program, edited, layers
from porter.diagnosis.recipes import Conventions, StageFacts, program
from porter.diagnosis.symptoms import Side, Symptom

# float64 rounding of a stage is 1e-15 to 1e-13 of its scale; a fault below this is no fault.
_SAME = 1e-11
# Share of the deviation that an exact explanation leaves open.
_EXACT = 1e-6
# Rounding of operands is imitated, not repeated: accumulation orders differ.
_CLOSE = 0.1
# A wrong norm's epsilon comes nowhere near; the right one's error falls tenfold with every step.
_STEPS_TO_HOPE = 3
_PADDINGS: tuple[Padding, ...] = ("same", "symmetric")
_FUNCTIONS = (
    "relu",
    "gelu (exact, TensorFlow's float32 constant)",
    "gelu (exact)",
    "relu6",
    "silu",
    "hard_swish",
    "gelu (tanh)",
)
_GATES = ("sigmoid", "hard_sigmoid (relu6(x + 3) / 6)", "hard_sigmoid (relu6(x + 3) * 0.16667)")


@dataclass(frozen=True, slots=True)
class Explanation:
    """A hypothesis and how well it explains the deviation.

    Attributes:
        hypothesis: The fault.
        error: What it leaves, max|recomputed - goal| over the goal's scale.
        before: The deviation without it, likewise.
        faulty: The side that the fault is in: ``"actual"`` if the weights, used rightly, give the
            reference; ``"weights"`` if they give the other side, so that they are wrong themselves.
    """

    hypothesis: Hypothesis
    error: float
    before: float
    faulty: str

    @property
    def left(self) -> float:
        """Share of the deviation that stays unexplained."""
        return self.error / self.before if self.before > 0 else math.inf


def refit(
    symptom: Symptom, block: StageFacts, weights: Mapping[str, Array], epsilon: float | None
) -> tuple[Explanation, ...] | None:
    """Return what explains one bad stage, the best first; nothing if every known fault was ruled out.

    None instead of a tuple means that nothing could be tried: the input is not known, or the stage is of no
    known kind, or neither side computes what the weights say.

    Args:
        symptom: The stage's input and both sides' outputs.
        block: The stage's weights and shapes.
        weights: All tensors of the network.
        epsilon: The network's batch normalisation epsilon, or None if it is not known.
    """
    symptom = symptom.single()
    start = None if symptom.input is None else _Start.find(symptom, symptom.input, block, epsilon)
    return None if start is None else tuple(sorted(start.search(weights), key=lambda match: match.left))


@dataclass(slots=True)
class _Start:
    """A program that repeats one of the two sides, and the other side as the goal."""

    machine: Machine
    program: Program
    x: Values
    goal: Side
    before: float
    faulty: str

    @classmethod
    def find(cls, symptom: Symptom, x: Values, block: StageFacts, epsilon: float | None) -> _Start | None:
        sides = [("actual", symptom.expected, symptom.actual), ("weights", symptom.actual, symptom.expected)]
        for conventions in _conventions(block, epsilon):
            candidate = program(block, conventions)
            if candidate is None:
                return None
            machine = Machine(learning=True)
            try:
                out = machine.run(candidate, x)
            except ValueError:  # numpy: the shapes do not fit, so the stage is another than its names suggest
                return None
            for name, side, other in sides:
                if side.error(out) <= max(_SAME, symptom.noise):
                    machine.learning = False
                    return cls(machine, candidate, x, other, other.error(out), name)
        return None

    def search(self, weights: Mapping[str, Array]) -> Iterator[Explanation]:
        first = map(self._try, usual(self.program))
        last = map(self._try, unusual(self.program, weights))
        for match in itertools.chain(first, self._fitted_epsilons(), last):
            if match.left <= _CLOSE:
                yield match
            if match.left <= _EXACT:
                return

    def _try(self, hypothesis: Hypothesis) -> Explanation:
        program = edited(self.program, hypothesis.edits)
        error = self.goal.error(self.machine.run(program, self.x))
        if math.isinf(error):
            self.machine.fused = True
            error = self.goal.error(self.machine.run(program, self.x))
            self.machine.fused = False
        return Explanation(hypothesis, error, self.before, self.faulty)

    def _fitted_epsilons(self) -> Iterator[Explanation]:
        """Try epsilons that nobody would guess: a secant on how far the output has come towards the goal."""
        for norm in layers(self.program):
            if isinstance(norm, BatchNorm):
                yield self._fit(norm)

    def _fit(self, norm: BatchNorm) -> Explanation:
        def attempt(epsilon: float) -> tuple[float, Explanation]:
            difference = f"batch normalisation epsilon {epsilon:.6g} for {norm.epsilon:g} in {norm.name}"
            edit = Hypothesis("bn-epsilon", difference, norm.name, {norm: replace(norm, epsilon=epsilon)})
            out = self.machine.run(edited(self.program, edit.edits), self.x)
            error = self.goal.error(out)
            return self.goal.along(out, base), Explanation(edit, error, self.before, self.faulty)

        base = self.machine.run(self.program, self.x)
        old, (new, (share, match)) = (norm.epsilon, 0.0), (0.0, attempt(0.0))
        best = match
        for step in range(12):
            if match.left <= _EXACT or share == old[1] or not math.isfinite(share):
                break
            if step == _STEPS_TO_HOPE and best.left > _CLOSE:
                break
            guess = new + (1.0 - share) * (new - old[0]) / (share - old[1])
            old, new = (new, share), min(max(guess, 0.0), 1.0)
            share, match = attempt(new)
            best = min(best, match, key=lambda m: m.left)
        return best


def _conventions(block: StageFacts, epsilon: float | None) -> Iterator[Conventions]:
    gated = any(".se." in name for name in block.weights)
    gates = _GATES if gated else _GATES[:1]
    epsilons = (epsilon,) if epsilon is not None else (1e-3, 1e-5)
    for padding, function, gate, value in itertools.product(_PADDINGS, _FUNCTIONS, gates, epsilons):
        # MobileNetV3 has a plain ReLU inside its gates whatever the block's own activation is.
        for inside in dict.fromkeys((function, "relu") if gated else (function,)):
            yield Conventions(function, gate, inside, padding, value)
