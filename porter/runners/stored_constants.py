"""Constants of a stored float32 graph, as the numbers that a program wrote."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

_FEW_DIGITS, _SMALL_DENOMINATOR, _LARGEST_ROOT = 7, 512, 4096
# Constants that tf.nn.gelu rounds to float32 in a float64 network too (see runners/torch.py), and the one
# that it does not.
_OF_GELU = {
    float(np.float32(0.7071067811865476)): float(np.float32(0.7071067811865476)),
    float(np.float32(0.044715)): float(np.float32(0.044715)),
    float(np.float32(0.7978845608028654)): 0.7978845608028654,
}


def intended(stored: float) -> float:
    """Return the number that a program wrote, of which a float32 scalar constant is the rounded form.

    A number of few digits, a fraction of small numbers or the root of a whole number, or its inverse, is what
    that was; any other constant stays as it is. A network built in float64 has the number itself.

    Example:
        >>> intended(float(np.float32(0.001))), intended(float(np.float32(1 / 6)))
        (0.001, 0.16666666666666666)
        >>> intended(float(np.float32(20**0.5))) == 20**0.5
        True
    """
    if stored == 0 or not math.isfinite(stored):
        return stored
    if stored in _OF_GELU:
        return _OF_GELU[stored]
    shortest = str(np.float32(stored))
    if len(shortest.partition("e")[0].replace(".", "").strip("-0")) < _FEW_DIGITS:
        return float(shortest)
    fraction = float(Fraction(stored).limit_denominator(_SMALL_DENOMINATOR))
    near = (number for number in (fraction, *_roots(stored)) if np.float32(number) == np.float32(stored))
    return next(near, stored)


def _roots(stored: float) -> Iterator[float]:
    """Yield the root of a whole number, or its inverse, that is near."""
    for power in (0.5, -0.5):
        whole = abs(stored) ** (1 / power)
        if 0.5 < whole <= _LARGEST_ROOT:
            yield math.copysign(round(whole) ** power, stored)
