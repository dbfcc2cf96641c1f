"""Constants of a stored float32 graph, as the numbers that a program wrote."""

from __future__ import annotations

import math
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

    A number of few digits, a fraction of small numbers or the inverse root of a whole number is what that
    was; any other constant stays as it is. A network built in float64 has the number itself.

    Example:
        >>> intended(float(np.float32(0.001))), intended(float(np.float32(1 / 6)))
        (0.001, 0.16666666666666666)
    """
    if stored == 0 or not math.isfinite(stored):
        return stored
    if stored in _OF_GELU:
        return _OF_GELU[stored]
    shortest = str(np.float32(stored))
    if len(shortest.partition("e")[0].replace(".", "").strip("-0")) < _FEW_DIGITS:
        return float(shortest)
    fraction = float(Fraction(stored).limit_denominator(_SMALL_DENOMINATOR))
    root = round(1 / stored**2) if abs(stored) > _LARGEST_ROOT**-0.5 else 0
    inverse = math.copysign(root**-0.5, stored) if root else 0.0
    near = (number for number in (fraction, inverse) if np.float32(number) == np.float32(stored))
    return next(near, stored)
