"""Tests on the two inputs themselves, where each side prepared its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from porter.diagnosis.arithmetic import Values
from porter.diagnosis.clue import Clue

_EXACT = 1e-4
_COLOURS = ("red", "green", "blue")


def input_clues(expected: Values, actual: Values) -> Iterator[Clue]:
    """Yield what turns one input into the other: an order, a scale, a normalisation, or another resize.

    Args:
        expected: The reference's input, (N, C, H, W).
        actual: The other side's.
    """
    if expected.shape != actual.shape:
        yield Clue("preprocessing-resize", 0.95, f"inputs of shape {actual.shape} for {expected.shape}")
        return
    found = (
        list(_order(expected, actual)) or list(_affine(expected, actual)) or list(_mirrored(expected, actual))
    )
    yield from found or _resized(expected, actual)


def _order(expected: Values, actual: Values) -> Iterator[Clue]:
    count = expected.shape[1]
    for order in itertools.permutations(range(count)) if 2 <= count <= 4 else ():
        if list(order) != list(range(count)) and _close(expected[:, list(order)], actual):
            evidence = f"the input's channels come in the order {order}"
            yield Clue(
                "preprocessing-channel-order",
                0.98,
                evidence + (", as BGR for RGB" if order == (2, 1, 0) else ""),
            )
            return
    # Normalised before or after the exchange: the same channels, each with its own scale.
    for order in itertools.permutations(range(count)) if count == 3 else ():
        fits = [_line(expected[:, o], actual[:, c]) for c, o in enumerate(order)]
        if list(order) != [0, 1, 2] and max(left for _, _, left in fits) < _EXACT:
            evidence = f"the input's channels come in the order {order}, each with another scale and offset"
            yield Clue("preprocessing-channel-order", 0.9, evidence)
            return


def _close(a: Values, b: Values) -> bool:
    return bool(np.abs(a - b).max() <= _EXACT * (np.abs(b).max() or 1.0))


def _line(x: Values, y: Values) -> tuple[float, float, float]:
    """Fit y = slope x + offset; return both and the residual relative to y's spread."""
    x, y = x.ravel(), y.ravel()
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred)) if centred.any() else 0.0
    offset = float(y.mean() - slope * x.mean())
    return slope, offset, float(np.abs(slope * x + offset - y).max() / (np.ptp(y) or 1.0))


def _affine(expected: Values, actual: Values) -> Iterator[Clue]:
    fits = [_line(expected[:, c], actual[:, c]) for c in range(expected.shape[1])]
    if max(left for _, _, left in fits) > _EXACT:
        return
    slopes, offsets = ([fit[i] for fit in fits] for i in (0, 1))
    lines = ", ".join(f"{slope:.4g} x {offset:+.4g}" for slope, offset in zip(slopes, offsets, strict=True))
    one_scale = max(slopes) - min(slopes) < 1e-3 * abs(slopes[0])
    no_offset = max(map(abs, offsets)) < 1e-3 * np.abs(actual).max()
    cause = "preprocessing-scale" if one_scale and no_offset else "preprocessing-normalisation"
    yield Clue(cause, 0.97, f"per channel the input is {lines} of the reference's")


def _mirrored(expected: Values, actual: Values) -> Iterator[Clue]:
    turns = {
        "mirrored left to right": expected[..., ::-1],
        "upside down": expected[:, :, ::-1],
        "with rows and columns exchanged": expected.swapaxes(2, 3),
    }
    for evidence, turned in turns.items():
        if turned.shape == actual.shape and _close(turned, actual):
            yield Clue("preprocessing-orientation", 0.97, f"the input is the reference's {evidence}")


def _resized(expected: Values, actual: Values) -> Iterator[Clue]:
    flat = [values.reshape(values.shape[0], -1) for values in (expected, actual)]
    likeness = float(np.corrcoef(flat[0].ravel(), flat[1].ravel())[0, 1])
    if likeness > 0.3:
        evidence = f"the inputs are alike (correlation {likeness:.4f}), but not by a scale, offset or order"
        yield Clue("preprocessing-resize", 0.8, f"{evidence}, as after another crop or interpolation")
    else:
        yield Clue("preprocessing", 0.5, f"the inputs have little in common (correlation {likeness:.4f})")
