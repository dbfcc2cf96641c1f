"""Conversions are checked against exact arithmetic: the nearest representable value, ties to even."""

import bisect
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from porter.core.dtypes import BY_NAME
from porter.transfer.float_conversion import OUTPUT_DTYPES, convert, output_dtype

TYPES = {name: BY_NAME[name] for name in ("float64", "float32", "float16", "bfloat16")}


def to_float64(words, name):
    """Return the exact values of `words`."""
    if name == "bfloat16":
        words = (words.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        return words.astype(np.float64)


def positive_values(name):
    """Return every non-negative finite value of a 16-bit type in ascending order; the index is the word."""
    last = {"float16": 0x7BFF, "bfloat16": 0x7F7F}[name]
    return to_float64(np.arange(last + 1, dtype=np.uint16).view(BY_NAME[name].storage), name).tolist()


GRID = {name: positive_values(name) for name in ("float16", "bfloat16")}


def nearest_word(value, name):
    """Return the 16-bit word nearest to the exact `value`, ties to the even word, by rational arithmetic."""
    sign = 0x8000 if math.copysign(1, value) < 0 else 0
    grid = GRID[name]
    if math.isinf(value):
        return sign | len(grid)
    above = bisect.bisect_left(grid, abs(value))
    # The first value beyond the largest finite one would continue the grid; rounding to it is an infinity.
    upper = Fraction(grid[above]) if above < len(grid) else 2 * Fraction(grid[-1]) - Fraction(grid[-2])
    below = max(above - 1, 0) if above < len(grid) else len(grid) - 1
    above = min(above, len(grid))
    low, high = Fraction(abs(value)) - Fraction(grid[below]), upper - Fraction(abs(value))
    if low == high:
        return sign | (below if below % 2 == 0 else above)
    return sign | (below if low < high else above)


@settings(max_examples=2000, deadline=None)
@given(value=st.floats(allow_nan=False), target=st.sampled_from(["float16", "bfloat16"]))
@example(value=1.00390625 + 2**-40, target="bfloat16")  # just over a tie, which float32 cannot tell from one
@example(value=-(1.01171875 - 2**-40), target="bfloat16")
@example(value=3.3961775292304957e38, target="bfloat16")
@example(value=65519.99999999999, target="float16")
@example(value=65520.0, target="float16")
@example(value=2.0**-25, target="float16")
def test_float64_becomes_the_nearest_narrow_number(value, target):
    """A float64 is rounded once, to nearest with ties to even, subnormals and overflow included."""
    result = convert(np.array([value]), TYPES["float64"], TYPES[target])

    assert int(result.view(np.uint16)[0]) == nearest_word(value, target)


@settings(max_examples=2000, deadline=None)
@given(value=st.floats(allow_nan=False, width=32), target=st.sampled_from(["float16", "bfloat16"]))
def test_float32_becomes_the_nearest_narrow_number(value, target):
    """A float32 is rounded once, to nearest with ties to even."""
    result = convert(np.array([value], np.float32), TYPES["float32"], TYPES[target])

    assert int(result.view(np.uint16)[0]) == nearest_word(value, target)


@pytest.mark.parametrize("source", ["float16", "bfloat16"])
@pytest.mark.parametrize("target", sorted(TYPES))
def test_every_16_bit_word_converts_exactly(source, target):
    """All 65,536 words of a 16-bit type: wider types hold the value exactly, narrower ones the nearest."""
    words = np.arange(65536, dtype=np.uint16).view(TYPES[source].storage)
    result = convert(words, TYPES[source], TYPES[target])
    before, after = to_float64(words, source), to_float64(result, target)

    assert (np.isnan(before) == np.isnan(after)).all()
    real = ~np.isnan(before)
    if target in ("float16", "bfloat16"):
        expected = [nearest_word(v, target) for v in before[real].tolist()]
        np.testing.assert_array_equal(result.view(np.uint16)[real], expected)
    else:
        np.testing.assert_array_equal(after[real], before[real])
        assert (np.signbit(after[real]) == np.signbit(before[real])).all()


@pytest.mark.parametrize("target", ["float16", "bfloat16"])
def test_every_nan_stays_a_nan(target):
    """No payload lets a NaN become an infinity or a number, with either sign."""
    payloads = np.concatenate([1 << np.arange(23), [0x7FFFFF, 0x007FFF, 0x00FFFF]]).astype(np.uint32)
    words = np.concatenate([payloads | 0x7F800000, payloads | np.uint32(0xFF800000)])
    with np.errstate(invalid="ignore"):  # signalling NaNs
        wide = np.concatenate([words.view(np.float32).astype(np.float64), [-np.nan]])
        for stored, name in ((words.view(np.float32), "float32"), (wide, "float64")):
            result = to_float64(convert(stored, TYPES[name], TYPES[target]), target)
            assert np.isnan(result).all()


def test_zero_keeps_its_sign_when_it_is_scaled():
    """-0.0 times a positive factor is -0.0."""
    zeros = np.array([-0.0, 0.0], np.float32)

    found = convert(zeros, BY_NAME["float32"], BY_NAME["float32"], scale=1.00002)

    assert np.signbit(found).tolist() == [True, False]


def test_nothing_to_do_is_no_copy():
    """Equal types and no offset give back the very array."""
    words = np.ones(3, np.float32)

    assert convert(words, TYPES["float32"], TYPES["float32"]) is words


@pytest.mark.parametrize("name", TYPES)
def test_source_is_never_changed(name):
    """Conversion leaves its input alone."""
    dtype = TYPES[name]
    words = np.ones(5, dtype.storage)
    words.flags.writeable = False
    for target in TYPES.values():
        convert(words, dtype, target, offset=0.5)

    assert (words == np.ones(5, dtype.storage)).all()


def test_output_names_are_those_of_torch():
    """A user says float16, not half."""
    assert [OUTPUT_DTYPES[name] for name in OUTPUT_DTYPES] == [output_dtype(name) for name in OUTPUT_DTYPES]
    assert output_dtype("float16").name == "float16"
