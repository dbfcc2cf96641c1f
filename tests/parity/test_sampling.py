"""Samples keep the borders, and six bytes are enough for a number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from porter.recordings.fixed_point import decode, encode
from porter.recordings.sampling import SampleRule

SHAPE = (1, 32, 48, 48)


@given(
    shape=st.lists(st.integers(1, 12), min_size=1, max_size=4).map(tuple),
    count=st.integers(1, 200),
    seed=st.integers(0, 9),
)
def test_sample_has_distinct_positions_in_range(shape, count, seed):
    """A sample has exactly as many distinct positions as asked for, or all there are."""
    positions = SampleRule(seed, "s", count).positions(shape)

    size = int(np.prod(shape))
    assert positions.size == min(count, size)
    assert (np.diff(positions) > 0).all()
    assert positions.min() >= 0
    assert positions.max() < size


def test_sample_visits_every_border_position_and_every_channel():
    """Each place of the first and last row and column is in it, in some channel, and each channel is."""
    positions = SampleRule(0, "stem", 1024).positions(SHAPE)
    _, channels, rows, columns = np.unravel_index(positions, SHAPE)

    seen = set(zip(rows.tolist(), columns.tolist(), strict=True))
    border = {(r, c) for r in range(48) for c in range(48) if r in (0, 47) or c in (0, 47)}
    assert border <= seen
    assert set(channels.tolist()) == set(range(32))


def test_small_sample_keeps_the_corners():
    """Where there is room for few, the corners come first."""
    positions = SampleRule(0, "stem", 16).positions(SHAPE)
    _, _, rows, columns = np.unravel_index(positions, SHAPE)

    seen = set(zip(rows.tolist(), columns.tolist(), strict=True))
    assert {(0, 0), (0, 47), (47, 0), (47, 47)} <= seen


def test_positions_are_frozen():
    """Goldens do not store their positions; these must never change."""
    assert SampleRule(0, "stem", 4).positions((1, 2, 3, 3)).tolist() == [0, 7, 10, 11]


def test_samples_differ_between_names_and_seeds():
    """Every stage has a sample of its own."""
    one, other, third = (
        SampleRule(seed, name, 64).positions(SHAPE).tolist() for seed, name in ((0, "a"), (0, "b"), (1, "a"))
    )

    assert one != other != third != one


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_fixed_point_error_is_far_below_the_tolerance(numbers):
    """What comes back differs by less than 1.5e-14 of the largest value."""
    values = np.array(numbers)
    largest = float(np.abs(values).max())
    assume(largest > 1e-300)

    error = np.abs(decode(encode(values, largest), largest) - values).max()

    assert error <= 1.5e-14 * largest


@pytest.mark.parametrize("largest", [1.0, 2.0**-1000, 2.0**1000, 3.7])
def test_fixed_point_takes_the_extremes(largest):
    """The largest value itself, its negative and zero are held."""
    values = np.array([largest, -largest, 0.0])

    found = decode(encode(values, largest), largest)

    assert found == pytest.approx(values, rel=1.5e-14)
