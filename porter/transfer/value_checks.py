"""Find values that no trained network should hold, in one fast pass over data that is in the cache."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from porter.core.checkpoint import Array
from porter.core.dtypes import DType
from porter.errors import printable

Kind = Literal["nan", "infinity", "negative_variance", "overflow"]
Mask = NDArray[np.bool_]

_SAID: dict[Kind, str] = {
    "nan": "are NaN",
    "infinity": "are infinite",
    "negative_variance": "are negative, which no variance is",
    "overflow": "were too large for the output type and became infinite",
}


class SuspectValues(NamedTuple):
    """Values of one target tensor that deserve a look.

    Attributes:
        target: Name of the target tensor.
        kind: ``"nan"`` and ``"infinity"`` were stored so; ``"negative_variance"`` is a stored value below
            zero; ``"overflow"`` is a finite value that became an infinity in a narrower output type.
        count: How many values.
        first: Index of the first one in the target tensor.
        shape: Shape of the target tensor.
    """

    target: str
    kind: Kind
    count: int  # type: ignore[assignment]  # in place of tuple.count, which nobody asks
    first: tuple[int, ...]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        """Say it in one line, for people."""
        count = f"{self.count} of {math.prod(self.shape)} values"
        return f"{printable(self.target)}: {count} {_SAID[self.kind]}, first at {list(self.first)}"


class ValueChecks:
    """Collects the findings of one target tensor, block by block in target order."""

    def __init__(self, target: str, shape: tuple[int, ...], *, is_variance: bool) -> None:
        self._target = target
        self._shape = shape
        self._is_variance = is_variance
        self._counts: dict[Kind, int] = {}
        self._first: dict[Kind, int] = {}

    def stored(self, words: Array, dtype: DType, position: int) -> None:
        """Check values as the checkpoint holds them.

        Args:
            words: One-dimensional storage words of `dtype`.
            dtype: Their element type; only real and complex floating-point types can yield findings.
            position: Index of ``words[0]`` in the flattened target tensor.
        """
        if words.size == 0 or not (dtype.is_float or dtype.name == "complex64"):
            return
        if not _all_finite(words, dtype):
            self._add("nan", _is_nan(words, dtype), position)
            self._add("infinity", _is_infinite(words, dtype), position)
        if self._is_variance and dtype.name != "complex64" and _lowest(words, dtype) < 0:
            self._add("negative_variance", _is_negative(words, dtype), position)

    def converted(
        self, words: Array, dtype: DType, before: Array, dtype_before: DType, position: int
    ) -> None:
        """Check what became of finite values in another element type.

        Args:
            words: One-dimensional storage words of `dtype`.
            dtype: Their element type.
            before: The same values as they were stored.
            dtype_before: Element type of `before`.
            position: Index of ``words[0]`` in the flattened target tensor.
        """
        if words.size and not _all_finite(words, dtype):
            self._add("overflow", _is_infinite(words, dtype) & ~_is_infinite(before, dtype_before), position)

    def findings(self) -> tuple[SuspectValues, ...]:
        """Return one finding per kind that occurred."""
        return tuple(
            SuspectValues(self._target, kind, count, self._index(self._first[kind]), self._shape)
            for kind, count in self._counts.items()
        )

    def _index(self, position: int) -> tuple[int, ...]:
        return tuple(int(i) for i in np.unravel_index(position, self._shape))

    def _add(self, kind: Kind, mask: Mask, position: int) -> None:
        count = int(np.count_nonzero(mask))
        if count:
            self._first.setdefault(kind, position + int(mask.argmax()))
            self._counts[kind] = self._counts.get(kind, 0) + count


# Types that numpy has no arithmetic for, or only a slow one: the word of infinity (for float8_e4m3fn, which
# has none, the word after the largest number), and whether that word is an infinity.
_INFINITY_WORDS = {
    "float16": (0x7C00, True),
    "bfloat16": (0x7F80, True),
    "float8_e5m2": (0x7C, True),
    "float8_e4m3fn": (0x7F, False),
}


def _all_finite(words: Array, dtype: DType) -> bool:
    """Answer from the extreme values alone, which needs no temporary array."""
    if dtype.name in _INFINITY_WORDS:
        infinity, _ = _INFINITY_WORDS[dtype.name]
        signed, unsigned = _integers(words)
        negative_infinity = infinity | 1 << (8 * words.itemsize - 1)
        return bool(signed.max() < infinity and unsigned.max() < negative_infinity)
    real = _real(words)
    # A NaN anywhere makes both extremes NaN. The ufuncs' own methods: there are many small tensors.
    return math.isfinite(np.minimum.reduce(real)) and math.isfinite(np.maximum.reduce(real))


def _lowest(words: Array, dtype: DType) -> float:
    """Return a number that is negative if any value is; a negative zero may give a false alarm."""
    if dtype.name in _INFINITY_WORDS:
        return float(_integers(words)[0].min())
    lowest = float(np.minimum.reduce(_real(words)))
    return -1.0 if math.isnan(lowest) else lowest


def _is_nan(words: Array, dtype: DType) -> Mask:
    if dtype.name in _INFINITY_WORDS:
        infinity, is_infinity = _INFINITY_WORDS[dtype.name]
        return np.greater_equal(_magnitude(words), infinity + is_infinity)
    return np.isnan(words)


def _is_infinite(words: Array, dtype: DType) -> Mask:
    if dtype.name in _INFINITY_WORDS:
        infinity, is_infinity = _INFINITY_WORDS[dtype.name]
        found: Mask = np.equal(_magnitude(words), infinity) & is_infinity
        return found
    return np.isinf(words)


def _is_negative(words: Array, dtype: DType) -> Mask:
    if dtype.name in _INFINITY_WORDS:
        below: Mask = (_integers(words)[0] < 0) & (_magnitude(words) != 0) & ~_is_nan(words, dtype)
        return below
    with np.errstate(invalid="ignore"):
        return np.less(words, 0)


def _magnitude(words: Array) -> Array:
    _, unsigned = _integers(words)
    everything_but_the_sign = unsigned.dtype.type((1 << (8 * words.itemsize - 1)) - 1)
    result: Array = np.bitwise_and(unsigned, everything_but_the_sign)
    return result


def _integers(words: Array) -> tuple[Array, Array]:
    return words.view(f"i{words.itemsize}"), words.view(f"u{words.itemsize}")


def _real(words: Array) -> Array:
    return words.view(np.float32) if words.dtype == np.complex64 else words
