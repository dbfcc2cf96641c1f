"""The generator's stream is fixed: goldens rest on it."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.recordings.random_weights import bits, entry_value, image_input, uniform, variable
from porter.tables.shipped import load_tables

TABLES = load_tables()
CONV_SMALL = TABLES.variant("conv_small")
MASK = (1 << 64) - 1


def splitmix64(state, count):
    """SplitMix64 in Python's own integers."""
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        yield z ^ (z >> 31)


def test_splitmix64_oracle_gives_the_published_stream():
    """The oracle below agrees with the reference implementation's first outputs for seed 1234567."""
    assert list(splitmix64(1234567, 3)) == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(seed=st.integers(-(2**70), 2**70), name=st.text(max_size=20), count=st.integers(0, 40))
def test_bits_are_splitmix64_from_a_sha256(seed, name, count):
    """The vectorised stream equals integer arithmetic, for any seed and name."""
    digest = hashlib.sha256(f"{seed}\0{name}\0".encode(errors="strict")).digest()

    expected = list(splitmix64(int.from_bytes(digest[:8], "little"), count))

    assert bits(seed, name, count).tolist() == expected


def test_a_variable_is_its_whole_stream_however_large_it_is():
    """It is made in pieces, each of which goes on where the one before ended."""
    count = 3 * (1 << 15) + 5
    steps = (bits(2, "a/kernel", count, (count,)) >> np.uint64(40)).astype(np.int64) - (1 << 23)
    whole = (steps.astype(np.float64) * (0.7 / (1 << 23)) + 0.1).astype(np.float32)

    assert np.array_equal(uniform(2, "a/kernel", (count,), 0.1, 0.7), whole)


def test_stream_is_frozen():
    """These values are in every golden; a change of them makes all goldens worthless."""
    assert variable(0, "a/kernel", (2, 2), 4).ravel().tolist() == [
        0.06469772756099701, 0.64107745885849, -0.4131205976009369, -0.629725992679596,
    ]  # fmt: skip
    assert image_input(7, (1, 1), 1).ravel().tolist() == [
        -1.6346015930175781, 0.09640264511108398, -0.9236526489257812,
    ]  # fmt: skip


@pytest.mark.parametrize("role", ["gamma", "beta", "moving_mean", "moving_variance", "_gamma", "bias"])
def test_no_role_takes_the_value_of_an_initialiser(role):
    """Statistics and scales differ from 0 and 1 and from one another, so that each of them matters."""
    values = variable(3, f"layer/{role}", (512,), 1)

    assert len(np.unique(values)) > 500
    assert values.min() > 0 or role in ("beta", "moving_mean", "bias")


@given(st.integers(0, 2**32))
def test_uniform_stays_in_range_and_is_float32(seed):
    """Values are float32 within the interval asked for."""
    values = uniform(seed, "x", (100,), 0.5, 0.25)

    assert values.dtype == np.float32
    assert values.min() >= 0.25
    assert values.max() < 0.75


def test_kernel_variance_follows_fan_in():
    """A kernel's spread falls with the number of products it sums, so that signals keep their size."""
    wide, narrow = (variable(0, "a/kernel", (64, 64), fan_in) for fan_in in (1600, 100))

    assert np.var(narrow) / np.var(wide) == pytest.approx(16, rel=1e-6)


def test_names_seeds_and_shapes_give_unrelated_values():
    """Two tensors of one shape are never the same, so that a swapped pair shows."""
    base = variable(0, "a/beta", (64,), 1)

    others = [variable(1, "a/beta", (64,), 1), variable(0, "b/beta", (64,), 1)]
    others.append(variable(0, "a/beta", (65,), 1)[:64])

    assert all(abs(np.corrcoef(base, other)[0, 1]) < 0.5 for other in others)


def test_checkpoint_serves_every_entry_of_the_table():
    """The random checkpoint holds each source variable of the variant, and nothing else."""
    checkpoint = RandomCheckpoint(CONV_SMALL, 5)

    assert set(checkpoint.specs) == {CONV_SMALL.full_source(entry) for entry in CONV_SMALL.entries}
    entry = CONV_SMALL.entries[0]
    value = checkpoint.read(CONV_SMALL.full_source(entry))
    assert (value == entry_value(CONV_SMALL, entry, 5)).all()
    assert (checkpoint.read_block(CONV_SMALL.full_source(entry), (slice(1, 2),)) == value[1:2]).all()
