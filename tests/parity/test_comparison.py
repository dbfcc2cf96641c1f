"""Two activations to one deviation: what cannot be compared is never a pass."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from porter.parity.comparison import deviation
from porter.parity.outcome import Status
from porter.recordings.activation import Activation
from porter.recordings.sampling import SampleRule

RNG = np.random.default_rng(1)
VALUES = RNG.standard_normal((1, 4, 5, 6))


def full(values, layout="NCHW"):
    """A complete activation."""
    return Activation.full(np.asarray(values), layout)


def test_equal_activations_pass():
    """No difference is parity, whatever the tolerance."""
    found = deviation(full(VALUES), full(VALUES), 0.0)

    assert found.status is Status.PASSED
    assert (found.max_abs, found.compared, found.share_over) == (0.0, VALUES.size, 0.0)


@pytest.mark.parametrize(("rtol", "status"), [(1.01e-6, Status.PASSED), (0.99e-6, Status.OVER)])
def test_tolerance_is_relative_to_the_stage_and_inclusive_of_one_element(rtol, status):
    """One element that is off by a millionth of the largest value decides."""
    values = VALUES.copy()
    values[0, 1, 2, 3] += np.abs(VALUES).max() * 1e-6

    found = deviation(full(VALUES), full(values), rtol)

    assert found.status is status
    assert found.relative == pytest.approx(1e-6)


def test_worst_element_is_named_with_both_values():
    """The report says where the largest difference is and what each side has there."""
    values = VALUES.copy()
    values[0, 3, 4, 5] += 2.0

    found = deviation(full(VALUES), full(values), 1e-11)

    assert found.worst.index == (0, 3, 4, 5)
    assert (found.worst.expected, found.worst.actual) == (VALUES[0, 3, 4, 5], values[0, 3, 4, 5])
    assert found.share_over == 1 / VALUES.size


def test_layouts_are_brought_together():
    """A channels-last activation equals its channels-first twin, and the index is channels-first."""
    values = VALUES.copy()
    values[0, 3, 4, 5] += 2.0

    found = deviation(full(VALUES.transpose(0, 2, 3, 1), "NHWC"), full(values), 1e-11)

    assert found.worst.index == (0, 3, 4, 5)
    assert deviation(full(VALUES.transpose(0, 2, 3, 1), "NHWC"), full(VALUES), 0.0).passed


def test_transposed_square_map_does_not_pass():
    """Height and width exchanged is a difference even where the shapes agree."""
    square = RNG.standard_normal((1, 3, 5, 5))

    assert deviation(full(square), full(square.transpose(0, 1, 3, 2)), 1e-3).status is Status.OVER


def test_different_shapes_are_a_result_with_a_hint():
    """A layout that was declared wrongly is called what it probably is."""
    found = deviation(full(VALUES), full(VALUES.transpose(0, 2, 3, 1)), 1.0)

    assert found.status is Status.SHAPE
    assert "(1, 4, 5, 6)" in found.detail
    assert "channels-last" in found.detail
    assert math.isnan(found.relative)


@pytest.mark.parametrize("side", ["expected", "actual", "both"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_not_finite_is_never_a_pass(side, value):
    """NaN and infinities fail on either side, and on both sides at the same place."""
    bad = VALUES.copy()
    bad[0, 0, 0, 0] = value
    expected = bad if side in ("expected", "both") else VALUES
    actual = bad if side in ("actual", "both") else VALUES

    found = deviation(full(expected), full(actual), math.inf)

    assert found.status is Status.NONFINITE
    assert f"1 of {VALUES.size}" in found.detail


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_stage_is_never_a_pass(value):
    """A dead stage agrees with anything dead: nothing was compared."""
    constant = full(np.full((1, 2, 3, 3), value))

    found = deviation(constant, constant, 1e-3)

    assert found.status is Status.CONSTANT
    assert "nothing was compared" in found.detail


def test_empty_stage_is_never_a_pass():
    """A stage without elements was not compared."""
    assert deviation(full(np.zeros((0, 3))), full(np.zeros((0, 3))), 1.0).status is Status.CONSTANT


def test_single_number_can_be_compared():
    """A network with one output is not refused for being constant."""
    assert deviation(full([[2.0]]), full([[2.0 + 1e-13]]), 1e-11).passed


def test_differences_are_taken_in_float64():
    """float32 values that differ by one unit in the last place are not rounded together."""
    value = np.float32(1.0)
    found = deviation(full([[value, 3]]), full([[np.nextafter(value, np.float32(2)), 3]]), 0.0)

    assert found.max_abs == 2.0**-23


@given(st.integers(0, 2**20), st.integers(1, 1000))
def test_sample_finds_any_single_element(place, seed):
    """A small fault in one element of 1,440 is found though 64 are kept: statistics are exact."""
    expected = RNG.standard_normal((1, 10, 12, 12))
    actual = expected.copy().reshape(-1)
    actual[place % actual.size] += 1e-4 * np.abs(expected).max()

    golden = full(expected).sampled(SampleRule(seed, "s", 64))

    assert deviation(golden, full(expected), 1e-11).passed
    assert deviation(golden, full(actual.reshape(expected.shape)), 1e-11).status is Status.OVER


def test_sample_names_a_statistic_where_no_element_is_as_bad():
    """Where only elements outside the sample moved, the statistic that moved most is the worst."""
    expected = RNG.standard_normal((1, 10, 12, 12))
    golden = full(expected).sampled(SampleRule(0, "s", 64))
    actual = expected.copy().reshape(-1)
    outside = np.setdiff1d(np.arange(actual.size), golden.positions())
    actual[outside] *= 1.5

    found = deviation(golden, full(actual.reshape(expected.shape)), 1e-11)

    assert found.status is Status.OVER
    assert found.worst.index is None
    assert found.worst.statistic in ("std", "minimum", "maximum", "absolute_mean", "mean")


def test_sample_index_is_the_full_activations():
    """The worst index of a golden points into the whole activation."""
    expected = RNG.standard_normal((1, 10, 12, 12))
    golden = full(expected.transpose(0, 2, 3, 1), "NHWC").sampled(SampleRule(0, "s", 64))
    place = np.unravel_index(golden.positions()[5], expected.shape)
    actual = expected.copy()
    actual[place] += 10

    assert deviation(golden, full(actual), 1e-11).worst.index == tuple(map(int, place))
