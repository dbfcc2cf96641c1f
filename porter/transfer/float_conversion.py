"""Changing the width of floating-point numbers, rounding to nearest with ties to even."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from porter.core.checkpoint import Array
from porter.core.dtypes import BY_NAME, DType
from porter.errors import OutputError

# What a user calls an output type, to its element type here.
OUTPUT_DTYPES = {
    "float64": BY_NAME["float64"],
    "float32": BY_NAME["float32"],
    "float16": BY_NAME["float16"],
    "bfloat16": BY_NAME["bfloat16"],
}
_CONVERTIBLE = frozenset(("float64", "float32", "float16", "bfloat16"))
_WORD = np.dtype(np.uint32)
_ABSOLUTE = np.uint32(0x7FFFFFFF)
_INFINITY = np.uint32(0x7F800000)


def output_dtype(name: str) -> DType:
    """Return the element type that a user asked for.

    Raises:
        OutputError: it is not one of `OUTPUT_DTYPES`.
    """
    if name not in OUTPUT_DTYPES:
        raise OutputError(
            "output/unknown-dtype",
            "the output type is not known",
            expected="one of " + ", ".join(OUTPUT_DTYPES),
            found=repr(name),
        )
    return OUTPUT_DTYPES[name]


def is_convertible(dtype: DType) -> bool:
    """Whether `convert` takes values of this type."""
    return dtype.name in _CONVERTIBLE


def converted_dtype(source: DType, wanted: DType | None) -> DType:
    """Return what becomes of `source` if floating-point numbers are wanted as `wanted`."""
    return source if wanted is None or not source.is_float else wanted


def convert(
    words: Array,
    source: DType,
    target: DType,
    *,
    scale: float = 1.0,
    offset: float | NDArray[np.float64] = 0.0,
) -> Array:
    """Return ``scale x words + offset`` as `target`.

    Rounding is to nearest, ties to even, in one step: a float64 becomes the nearest bfloat16, not the
    nearest bfloat16 of the nearest float32. NaN stays NaN, and what is too large becomes an infinity.
    Scale and offset are applied in float64.

    Args:
        words: Storage words of `source`, any shape.
        source: float64, float32, float16 or bfloat16.
        target: The same choice.
        scale: Every value is multiplied by it before rounding.
        offset: Added before rounding: to every value, or one number for each.

    Returns:
        Storage words of `target` in the same shape; `words` itself if there is nothing to do.
    """
    shifted = not (isinstance(offset, float) and offset == 0.0)
    if source == target and scale == 1.0 and not shifted:
        return words
    # Overflow and NaN are found and reported by the caller; numpy's warnings would name neither.
    with np.errstate(over="ignore", invalid="ignore"):
        values = _widen(words) if source.name == "bfloat16" else words
        if scale != 1.0 or shifted:
            values = values.astype(np.float64) * scale
        if shifted:  # adding 0.0 would turn -0.0 into 0.0
            values = values + offset
        return _to_bfloat16(values) if target.name == "bfloat16" else values.astype(target.storage)


def rounded(values: NDArray[np.float64], *dtypes: str) -> NDArray[np.float64]:
    """Return float64 values as they are after being stored in each of the types, one after the other."""
    wide = BY_NAME["float64"]
    for name in dtypes:
        words = convert(values, wide, BY_NAME[name])
        values = convert(words, BY_NAME[name], wide)
    return values


def _widen(words: Array) -> NDArray[np.float32]:
    wide = words.astype(_WORD)
    wide <<= 16
    return wide.view(np.float32)


def _to_bfloat16(values: Array) -> NDArray[np.uint16]:
    single = _round_to_odd(values) if values.dtype == np.float64 else values.astype(np.float32, copy=False)
    words = single.view(_WORD)
    rounded = words >> 16
    rounded &= 1
    rounded += words
    rounded += 0x7FFF
    rounded >>= 16
    result = rounded.astype(np.uint16)
    nan = (words & _ABSOLUTE) > _INFINITY
    if nan.any():
        # The carry could turn a NaN into an infinity or a zero; keep sign and payload, and make it quiet.
        result[nan] = (words[nan] >> 16) | 0x40
    return result


def _round_to_odd(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return float32 neighbours whose last bit is set wherever the value was inexact.

    Rounding such a number again to a width at least two bits narrower gives what rounding the original
    once would have given (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums", 2008).
    """
    single = values.astype(np.float32)
    back = single.astype(np.float64)
    words = single.view(_WORD)
    even_and_inexact = (back != values) & ((words & 1) == 0) & ~np.isnan(values)
    too_large = np.abs(back) > np.abs(values)
    words[even_and_inexact & too_large] -= 1
    words[even_and_inexact & ~too_large] += 1
    return single
