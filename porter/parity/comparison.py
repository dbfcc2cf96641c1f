"""Two activations to one deviation. Everything that cannot be compared is a result, never a pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from porter.core.checkpoint import Array
from porter.parity.outcome import Deviation, Status, Worst
from porter.recordings.activation import Activation, Statistics

Values = NDArray[np.float64]


def deviation(expected: Activation, actual: Activation, tolerance: float) -> Deviation:
    """Compare two activations of one stage.

    Both are brought to channels-first order and float64. Where `expected` is a sample, the same elements of
    `actual` are compared, and the statistics of all elements with it.

    Args:
        expected: The reference.
        actual: The other side; a full activation.
        tolerance: Largest max|actual - expected| / max|expected| that passes.
    """
    if expected.canonical_shape != actual.canonical_shape:
        return Deviation(Status.SHAPE, tolerance, detail=_shapes(expected, actual))
    problem = _not_finite(expected, actual) or _constant(expected)
    if problem is not None:
        return Deviation(problem[0], tolerance, detail=problem[1])
    positions = expected.positions() if expected.is_sample else None
    reference, values = _pair(expected, actual, positions)
    with np.errstate(over="ignore"):
        difference = np.abs(values - reference)
    worst = int(difference.argmax())
    found = _Candidate(
        float(difference[worst]),
        Worst(_place(expected, positions, worst), None, float(reference[worst]), float(values[worst])),
    )
    for candidate in _statistics(expected, actual):
        if candidate.max_abs > found.max_abs:
            found = candidate
    scale = _scale(expected, reference)
    return Deviation(
        Status.PASSED if found.max_abs <= tolerance * scale else Status.OVER,
        tolerance,
        compared=difference.size,
        max_abs=found.max_abs,
        scale=scale,
        share_over=float((difference > tolerance * scale).mean()),
        worst=found.worst,
    )


class _Candidate:
    """A largest difference, and where it is."""

    def __init__(self, max_abs: float, worst: Worst) -> None:
        self.max_abs = max_abs
        self.worst = worst


def relative_difference(expected: Activation, actual: Activation) -> float | None:
    """Return max|actual - expected| / max|expected|, or None if that has no meaning."""
    found = deviation(expected, actual, tolerance=0.0)
    return found.relative if found.compared else None


def _pair(expected: Activation, actual: Activation, positions: Array | None) -> tuple[Values, Values]:
    values = actual.channels_first().reshape(-1)
    if positions is None:
        return _wide(expected.channels_first().reshape(-1)), _wide(values)
    return _wide(expected.values), _wide(values[positions])


def _wide(values: Array) -> Values:
    return values.astype(np.float64, copy=False)


def _scale(expected: Activation, reference: Values) -> float:
    return expected.statistics.largest if expected.statistics else float(np.abs(reference).max())


def _place(expected: Activation, positions: Array | None, index: int) -> tuple[int, ...]:
    flat = index if positions is None else int(positions[index])
    return tuple(int(i) for i in np.unravel_index(flat, expected.canonical_shape))


def _statistics(expected: Activation, actual: Activation) -> Iterator[_Candidate]:
    if expected.statistics is None:
        return
    other = Statistics.of(actual.channels_first())
    for entry in fields(Statistics):
        wanted, found = getattr(expected.statistics, entry.name), getattr(other, entry.name)
        yield _Candidate(abs(found - wanted), Worst(None, entry.name, wanted, found))


def _shapes(expected: Activation, actual: Activation) -> str:
    wanted, found = expected.canonical_shape, actual.canonical_shape
    hint = ""
    if sorted(wanted) == sorted(found):
        hint = "; the same lengths in another order: is one of them channels-last?"
    return f"expected {wanted}, found {found} (channels first){hint}"


def _not_finite(expected: Activation, actual: Activation) -> tuple[Status, str] | None:
    counts = []
    for side, activation in (("expected", expected), ("actual", actual)):
        bad = ~np.isfinite(activation.values)
        if bad.any():
            counts.append(f"{int(bad.sum())} of {bad.size} {side} values are NaN or infinite")
    return (Status.NONFINITE, "; ".join(counts)) if counts else None


def _constant(expected: Activation) -> tuple[Status, str] | None:
    if expected.statistics is not None:
        low, high = expected.statistics.minimum, expected.statistics.maximum
    elif expected.values.size:
        low, high = float(expected.values.min()), float(expected.values.max())
    else:
        return Status.CONSTANT, "the stage has no elements: nothing was compared"
    if low == high and (low == 0 or expected.values.size > 1):
        return Status.CONSTANT, f"the stage is constant ({low:g}): nothing was compared"
    return None
