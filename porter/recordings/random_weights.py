"""Weights and inputs that follow from a seed and a name alone, on any machine and with any numpy.

The stream is SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014)
in 64-bit integer arithmetic, started from a SHA-256 of seed, name and shape. Bits become numbers through
exact operations and one rounding to float32 only, so nothing in a library's own generators or
transcendental functions can move a golden.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from porter.tables.table_records import Dim
from porter.tables.variants import Entry, Variant

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))
_LAST_SHIFT = np.uint64(31)
# Words that are made at one go: they stay in the second-level cache, and a kernel of 400 MB needs no 3 GB.
_PIECE = 1 << 15

# Variance of a kernel's output over the mean square of its input. At 1 the signal would fade against the
# ReLUs, at 2 it would grow in linear layers.
_KERNEL_GAIN = 1.5

# Kernels with another gain, by a component of the object path. The last kernel of a residual branch gets
# less, so that thirty blocks do not grow the signal; query and key get less, because at the full gain the
# softmax picks one position and rounding is amplified tenfold per attention block.
_SPECIAL_GAINS = {
    "_proj_conv": 0.25,
    "_output_proj": 0.25,
    "output": 0.25,
    "_query_proj": 0.125,
    "_key_proj": 0.125,
    "query": 0.125,
    "key": 0.125,
}


@dataclass(frozen=True, slots=True)
class _Range:
    """Uniform values in [centre - half_width, centre + half_width)."""

    centre: float
    half_width: float


# By the last component of the object path. Nothing is centred on the value that an initialiser would give,
# so that a parameter which was left at its default shows.
_RANGES = {
    "gamma": _Range(1.0, 0.5),
    "beta": _Range(0.0, 0.25),
    "bias": _Range(0.0, 0.25),
    "moving_mean": _Range(0.0, 0.25),
    "moving_variance": _Range(1.0, 0.5),
    "_gamma": _Range(0.75, 0.25),
}


def bits(seed: int, name: str, count: int, shape: tuple[int, ...] = (), first: int = 0) -> NDArray[np.uint64]:
    """Return `count` 64-bit words of the stream of (seed, name, shape), from number `first` on."""
    key = f"{seed}\0{name}\0{','.join(map(str, shape))}".encode()
    start = np.frombuffer(hashlib.sha256(key).digest()[:8], dtype="<u8").astype(np.uint64)[0]
    with np.errstate(over="ignore"):
        state = np.arange(first + 1, first + count + 1, dtype=np.uint64)
        state *= _GAMMA
        state += start
        for shift, factor in _MIX:
            state ^= state >> shift
            state *= factor
        state ^= state >> _LAST_SHIFT
    return state


def uniform(
    seed: int, name: str, shape: tuple[int, ...], centre: float, half_width: float
) -> NDArray[np.float32]:
    """Return values uniform in [centre - half_width, centre + half_width), float32, C order.

    The top 24 bits of each word give a multiple of 2**-23 in [-1, 1), exact in float32; the scaling is
    done in float64 and rounded once.
    """
    values = np.empty(math.prod(shape), np.float32)
    for first in range(0, values.size, _PIECE):
        piece = values[first : first + _PIECE]
        steps = (bits(seed, name, piece.size, shape, first) >> np.uint64(40)).astype(np.int64) - (1 << 23)
        piece[...] = steps.astype(np.float64) * (half_width / (1 << 23)) + centre
    return values.reshape(shape)


def variable(
    seed: int,
    name: str,
    shape: tuple[int, ...],
    fan_in: int,
    *,
    role: str | None = None,
    gain: float | None = None,
) -> NDArray[np.float32]:
    """Return the value of one variable.

    Args:
        seed: Any integer.
        name: Object path below the classification model.
        shape: Shape in TensorFlow.
        fan_in: Products summed per output element; used for kernels (two or more axes) only.
        role: What Keras calls the variable; the last component of `name` if None.
        gain: Gain of a kernel; what its name suggests if None.
    """
    values = _RANGES.get(role or name.rpartition("/")[2]) if len(shape) < 2 else None
    if values is None:
        if gain is None:
            gains = [_SPECIAL_GAINS[part] for part in name.split("/") if part in _SPECIAL_GAINS]
            gain = gains[0] if gains else _KERNEL_GAIN
        # A uniform distribution over [-a, a) has variance a**2 / 3.
        values = _Range(0.0, math.sqrt(3.0 * gain / fan_in))
    return uniform(seed, name, shape, values.centre, values.half_width)


def entry_value(variant: Variant, entry: Entry, seed: int) -> NDArray[np.float32]:
    """Return the random value of a table entry's source variable, in TensorFlow's shape."""
    shape, target = (_lengths(variant, dims) for dims in (entry.source_shape, entry.target_shape))
    name = variant.full_source(entry)
    return variable(seed, name, shape, math.prod(target[1:]), role=entry.role, gain=entry.gain)


def image_input(seed: int, size: tuple[int, int], batch: int, channels: int = 3) -> NDArray[np.float32]:
    """Return a normalised image, uniform in [-2, 2): shape (N, H, W, C), float32."""
    shape = (batch, *size, channels)
    return uniform(seed, "input", shape, 0.0, 2.0)


def _lengths(variant: Variant, dims: tuple[Dim, ...]) -> tuple[int, ...]:
    return tuple(variant.free[d].default if isinstance(d, str) else d for d in dims)
