"""Numbers of one stage in six bytes each: 48-bit fixed point on the stage's own power-of-two scale."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

# |value| < 2**e becomes an integer below 2**46 in size. The step is at most 2**-45 of the largest value, so
# the rounding error is below 1.5e-14 of the stage's scale; float64 itself would need a third more room.
_BITS = 46
_OFFSET = 1 << 47


def encode(values: NDArray[np.float64], largest: float) -> NDArray[np.uint16]:
    """Encode finite values, none larger in size than `largest`.

    Args:
        values: Shape (n,).
        largest: Largest absolute value of the stage.

    Returns:
        Shape (n, 3), most significant word first.
    """
    steps = np.rint(np.ldexp(values, _BITS - _exponent(largest))).astype(np.int64) + _OFFSET
    words = [steps >> shift & 0xFFFF for shift in (32, 16, 0)]
    return np.stack(words, axis=-1).astype(np.uint16)


def decode(words: NDArray[np.uint16], largest: float) -> NDArray[np.float64]:
    """Undo `encode`: shape (n, 3) to shape (n,)."""
    high, middle, low = (words[:, column].astype(np.int64) for column in range(3))
    steps = (high << 32 | middle << 16 | low) - _OFFSET
    return np.ldexp(steps.astype(np.float64), _exponent(largest) - _BITS)


def _exponent(largest: float) -> int:
    return math.frexp(largest)[1]
