"""Tests that need nothing but a stage's input and both outputs. Each looks for one kind of structure."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from porter.diagnosis.arithmetic import ACTIVATIONS, Values
from porter.diagnosis.channels import channel_clues
from porter.diagnosis.clue import Clue
from porter.diagnosis.symptoms import Symptom
from porter.parity.outcome import Status

# What is left of an exact relation between two float64 activations, in units of their scale.
_EXACT = 1e-9


def clues(symptom: Symptom) -> Iterator[Clue]:
    """Yield what every test has to say about one bad stage, in no order."""
    yield from _sizes(symptom)
    both = symptom.both()
    if both is None:
        yield from _shapes(symptom)
        return
    expected, actual = both
    if not np.isfinite(actual).all():
        yield from _not_finite(expected, actual)
        return
    if np.array_equal(expected, actual):
        yield Clue("constant", 1.0, symptom.result.propagated.detail)
        return
    yield from _precision(expected, actual)
    yield from _functions(expected, actual)
    if expected.ndim == 2:
        yield from _labels(expected, actual)
    elif expected.ndim == 4:
        yield from _borders(symptom, expected, actual)
        yield from channel_clues(symptom, expected, actual)
    yield from _noise(expected, actual)


def _sizes(symptom: Symptom) -> Iterator[Clue]:
    failed = [size for size, passed in symptom.sizes.items() if not passed]
    passed = [size for size, passed in symptom.sizes.items() if passed]
    if not failed or not passed:
        return
    if all(s % 2 for size in passed for s in size) and any(s % 2 == 0 for size in failed for s in size):
        even, odd = ("x".join(map(str, sizes[0])) for sizes in (failed, passed))
        evidence = (
            f"at the even size {even} it is off by {symptom.before:.1e}, at the odd size {odd} it passes; "
            "SAME padding is lopsided at even sizes only"
        )
        yield Clue("padding", 0.95, evidence)


def _shapes(symptom: Symptom) -> Iterator[Clue]:
    expected, actual = symptom.expected.shape, symptom.actual.shape
    if len(expected) == len(actual) == 2 and abs(expected[1] - actual[1]) == 1:
        evidence = f"{expected[1]} classes against {actual[1]}: one side has a background class"
        yield Clue("label-offset", 0.95, evidence)
    elif expected != actual:
        status = symptom.result.propagated.status
        if status is Status.SHAPE and len(expected) == 4 and expected[2:] != actual[2:]:
            evidence = f"the other side's map has {actual[2:]} pixels for {expected[2:]}"
            yield Clue("padding", 0.6, evidence)


def _not_finite(expected: Values, actual: Values) -> Iterator[Clue]:
    bad = np.isnan(actual)
    if bad.any() and np.isfinite(expected).all():
        channels = bad.reshape(bad.shape[0], bad.shape[1], -1).all(axis=(0, 2)).sum()
        evidence = (
            f"{int(bad.sum())} of {bad.size} values are NaN ({channels} whole channels) where the reference "
            "has none, as after the square root of a negative variance"
        )
        yield Clue("swapped-statistics", 0.7, evidence)


def _precision(expected: Values, actual: Values) -> Iterator[Clue]:
    deviation = np.abs(actual - expected).max()
    if np.array_equal(actual, np.rint(actual)):
        return
    single = actual.astype(np.float32)
    if not np.array_equal(single, actual) or np.array_equal(expected.astype(np.float32), expected):
        return
    bits = single.view(np.uint32)
    with np.errstate(over="ignore"):
        half = actual.astype(np.float16).astype(np.float64)
    off = deviation / _scale(expected)
    evidence = f"every value of the other side is exact in {{}}, and it is off by {off:.1e}"
    if not (bits & 0xFFFF).any():
        yield Clue("precision-bf16", 1.0, evidence.format("bfloat16"))
    elif np.array_equal(half, actual):
        yield Clue("precision-float16", 1.0, evidence.format("float16"))
    elif deviation < 1e-5 * _scale(expected):
        yield Clue("precision-float32", 1.0, evidence.format("float32"))


def _scale(values: Values) -> float:
    return float(np.abs(values).max()) or 1.0


def _functions(expected: Values, actual: Values) -> Iterator[Clue]:
    """Look for an activation that shows in the outputs themselves."""
    for low, high, side in ((expected, actual, "other side"), (actual, expected, "reference")):
        if low.min() < 0 <= high.min() and _same(np.maximum(low, 0.0), high):
            share = np.mean(low < 0)
            yield Clue(
                "activation", 0.97, f"the {side} has 0 in place of {share:.0%} negative values: a ReLU"
            )
    for low, high, side in ((expected, actual, "reference"), (actual, expected, "other side")):
        if high.max() <= 6.0 < low.max() and _same(np.minimum(low, 6.0), high):
            share = np.mean(low > 6.0)
            yield Clue(
                "activation",
                0.97,
                f"the outputs differ in the {share:.2%} above 6 of the {side}: ReLU6 for ReLU",
            )
    yield from _rectified(expected, actual)


def _rectified(expected: Values, actual: Values) -> Iterator[Clue]:
    """Where one side is a smooth activation of u and the other relu(u), u shows where it is positive."""
    for plain, other, side in ((expected, actual, "other side"), (actual, expected, "reference")):
        if plain.min() < 0.0:
            continue
        positive = plain > 0
        for name, function in ACTIVATIONS.items():
            if name in ("relu", "relu6", "identity") or not positive.any():
                continue
            if _same(function(plain[positive]), other[positive]):
                yield Clue("activation", 0.95, f"the {side}'s positive values are {name} of the relu's")
                return
    if expected.min() > -0.2 and actual.min() > -0.2:
        # max|gelu_exact - gelu_tanh| is 4.73e-4, at |x| = 2.3.
        deviation = np.abs(actual - expected)
        if 1e-4 < deviation.max() < 4.8e-4 and deviation[np.abs(expected) > 6].max(initial=0.0) < 1e-6:
            most = deviation.max()
            evidence = (
                f"the difference is at most {most:.2e} and vanishes for large values: tanh for erf GELU"
            )
            yield Clue("activation", 0.9, evidence)


def _same(a: Values, b: Values) -> bool:
    return bool(np.abs(a - b).max() <= _EXACT * _scale(b))


def _labels(expected: Values, actual: Values) -> Iterator[Clue]:
    for shift in (1, -1):
        if _same(np.roll(expected, shift, axis=1)[:, 1:-1], actual[:, 1:-1]):
            yield Clue(
                "label-offset", 0.98, f"class k of the reference is class k{shift:+d} of the other side"
            )


def _borders(symptom: Symptom, expected: Values, actual: Values) -> Iterator[Clue]:
    deviation = np.abs(actual - expected).max(axis=(0, 1))
    if min(deviation.shape) < 5:
        return
    inner, worst = deviation[2:-2, 2:-2].max(), deviation.max()
    if inner <= 1e-3 * worst:
        edges = {
            "top": deviation[:2].max(),
            "bottom": deviation[-2:].max(),
            "left": deviation[:, :2].max(),
            "right": deviation[:, -2:].max(),
        }
        off = ", ".join(name for name, value in edges.items() if value > 1e-3 * worst)
        evidence = f"the deviation lies at the border ({off}) and is {inner / worst:.1e} of that inside"
        yield Clue("padding", 0.9, evidence)
    elif symptom.input is not None and symptom.input.shape[2] >= 2 * deviation.shape[0] - 1:
        even = symptom.input.shape[2] % 2 == 0 or symptom.input.shape[3] % 2 == 0
        if even:
            evidence = (
                f"the stage halves an even map of {symptom.input.shape[2]} rows, where SAME is lopsided"
            )
            yield Clue("padding", 0.35, evidence)


def _noise(expected: Values, actual: Values) -> Iterator[Clue]:
    """Name a precision by the size of an error that has no structure at all."""
    deviation = actual - expected
    spread = deviation.std()
    if spread == 0.0:
        return
    level = float(spread / expected.std())
    kurtosis = float(((deviation - deviation.mean()) ** 4).mean() / spread**4)
    unbiased = abs(float(deviation.mean())) < 0.1 * spread
    if not (unbiased and kurtosis < 8.0):
        return
    for name, low, high in (("tf32", 2.0**-13, 2.0**-9), ("bf16", 2.0**-9, 2.0**-5.5)):
        if low <= level < high:
            evidence = f"the deviation is {level:.1e} of the spread, without bias or structure, as in {name}"
            yield Clue(f"precision-{name}", 0.55, evidence)
