"""What the numbers alone say: every test on activations made for it, no network and no framework."""

from __future__ import annotations

import numpy as np
import pytest

from porter.diagnosis import diagnose
from porter.diagnosis.arithmetic import ACTIVATIONS
from porter.parity.compare import compare
from porter.parity.outcome import Status
from porter.recordings.recording import Recording

RNG = np.random.default_rng(7)
X = RNG.normal(size=(2, 3, 16, 16))
E = RNG.normal(size=(2, 12, 8, 8)) * 3


def recording(stage, size=None, inputs=X):
    """A recording of one stage called "block"."""
    return Recording.from_arrays(
        inputs if size is None else inputs[:, :, :size, :size],
        {"block": stage},
        layout="NCHW",
        framework="numpy",
    )


def causes(expected, actual):
    """The causes that are named for a pair of outputs, the most likely first."""
    sides = recording(expected), recording(actual)
    return [finding.cause for finding in diagnose(compare(*sides), *sides)]


def rounded(values, bits):
    """Values with `bits` fewer bits of float32's mantissa."""
    words = values.astype(np.float32).view(np.uint32)
    return (words & np.uint32(0xFFFFFFFF << bits & 0xFFFFFFFF)).view(np.float32).astype(np.float64)


TOKENS = E.reshape(2, 12, 64).swapaxes(1, 2)
CHANNEL = (1, 12, 1, 1)
SLOPES = RNG.uniform(1.01, 1.2, CHANNEL)
OFFSETS = RNG.normal(size=CHANNEL)
BORDER = np.pad(np.zeros((2, 12, 6, 6)), ((0, 0), (0, 0), (0, 2), (0, 2)), constant_values=0.3)
CASES = {
    "bfloat16": (E, rounded(E, 16), "precision-bf16"),
    "float16": (E, E.astype(np.float16).astype(np.float64), "precision-float16"),
    "float32": (E, E.astype(np.float32).astype(np.float64), "precision-float32"),
    "noise like TF32": (E, E + RNG.normal(size=E.shape) * 2e-3, "precision-tf32"),
    "ReLU too many": (E, np.maximum(E, 0), "activation"),
    "ReLU missing": (np.maximum(E, 0), E, "activation"),
    "ReLU6": (np.maximum(E, 0) + 0.0, np.clip(E, 0, 6), "activation"),
    "SiLU for ReLU": (np.maximum(E, 0), ACTIVATIONS["silu"](E), "activation"),
    "tanh for erf": (ACTIVATIONS["gelu (exact)"](E), ACTIVATIONS["gelu (tanh)"](E), "activation"),
    "padding at the border": (E, E + BORDER, "padding"),
    "epsilon": (E, E * SLOPES + OFFSETS * (1 - SLOPES), "bn-epsilon"),
    "layer scale": (E, E / RNG.uniform(0.1, 0.9, CHANNEL), "layer-scale"),
    "statistics": (E, E * RNG.uniform(0.2, 5, CHANNEL) + OFFSETS, "swapped-statistics"),
    "bias": (E, E + OFFSETS, "missing-fold"),
    "hard-sigmoid constant": (E, E * 6 * 0.16667 + OFFSETS * 1e-3, "hard-sigmoid"),
    "channel order": (E, E[:, RNG.permutation(12)], "channel-order"),
    "labels": (E[:, :, 0, 0], np.roll(E[:, :, 0, 0], 1, axis=1), "label-offset"),
    "nothing known": (E, RNG.normal(size=E.shape) * 3, "unknown"),
    "tokens": (TOKENS, TOKENS + RNG.normal(size=TOKENS.shape), "unknown"),
    "tokens in float16": (TOKENS, TOKENS.astype(np.float16).astype(np.float64), "precision-float16"),
}


@pytest.mark.parametrize("name", CASES)
def test_structure_in_the_output_names_the_cause(name):
    """A relation between both outputs leads to its cause."""
    expected, actual, cause = CASES[name]

    assert causes(expected, actual)[0] == cause


def test_what_a_stage_adds_is_looked_at_where_the_input_is_added():
    """Behind a residual connection the relation holds for output minus input only."""
    inputs = RNG.normal(size=E.shape)
    sides = recording(inputs + E, inputs=inputs), recording(inputs + E / SLOPES, inputs=inputs)

    findings = diagnose(compare(*sides), *sides)

    assert findings[0].cause == "layer-scale"
    assert "what the stage adds to its input" in findings[0].evidence


def test_nan_in_whole_channels_points_to_the_statistics():
    """NaN where the reference has none is what a negative variance gives."""
    broken = E.copy()
    broken[:, 3] = np.nan

    assert causes(E, broken)[0] == "swapped-statistics"


def test_failing_at_even_and_passing_at_odd_sizes_is_padding():
    """The size at which a stage passes is evidence: SAME padding is symmetric at odd sizes."""
    first, second = recording(E, 16), recording(E, 15)
    noisy = recording(E + RNG.normal(size=E.shape), 16)
    expected = Recording(first.provenance, (*first.runs, *second.runs))
    actual = Recording(first.provenance, (*noisy.runs, *second.runs))

    findings = diagnose(compare(expected, actual), expected, actual)

    assert findings[0].cause == "padding"
    assert "at the even size 16x16 it is off by" in findings[0].evidence
    assert "at the odd size 15x15 it passes" in findings[0].evidence


def test_a_class_too_many_is_a_label_offset():
    """1001 classes against 1000 cannot be compared, and the reason is said."""
    logits = RNG.normal(size=(2, 1001))
    sides = recording(logits), recording(logits[:, 1:])
    report = compare(*sides)

    findings = diagnose(report, *sides)

    assert report.cases[0].stages[1].propagated.status is Status.SHAPE
    assert findings[0].cause == "label-offset"
    assert "1001 classes against 1000" in findings[0].evidence


def test_a_passed_check_has_no_findings():
    """Nothing is said about what is right."""
    sides = recording(E), recording(E * (1 + 2.0**-52))

    assert diagnose(compare(*sides), *sides) == ()


@pytest.mark.parametrize("name", CASES)
def test_no_more_than_three_causes_are_named(name):
    """A list that names everything names nothing."""
    expected, actual, _ = CASES[name]

    assert 1 <= len(causes(expected, actual)) <= 3


def test_a_stage_that_is_constant_on_both_sides_is_told_as_that():
    """Where nothing could be compared nothing is suspected, and no number is divided by zero."""
    flat = np.full((2, 12, 8, 8), 0.5)
    sides = recording(flat), recording(flat)

    (finding,) = diagnose(compare(*sides), *sides)

    assert finding.cause == "constant"
    assert "constant (0.5)" in finding.evidence
