import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import porter.transfer.transposition
from porter.transfer.transposition import copy_rearranged


@settings(max_examples=300, deadline=None)
@given(shape=st.lists(st.integers(1, 7), max_size=5), data=st.data(), tile=st.integers(1, 8))
def test_any_rearrangement_is_copied_exactly(shape, data, tile):
    """Every axis order, shape and tile size gives what numpy's own copy gives."""
    order = data.draw(st.permutations(range(len(shape))))
    view = np.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape).transpose(order)
    target = np.full(view.shape, -1, np.int32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(porter.transfer.transposition, "_TILE", tile)
        patch.setattr(porter.transfer.transposition, "_SMALL_BYTES", 0)
        copy_rearranged(view, target)

    np.testing.assert_array_equal(target, view)


@pytest.mark.parametrize(
    "shape", [(512, 1000), (3, 3, 130, 257), (257, 1), (1, 1, 300, 301), (7, 64, 1, 300)]
)
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64", "complex64"])
def test_sizes_around_the_real_tile(shape, dtype):
    """With the tile as it is, shapes beside its multiples are copied exactly in every axis order."""
    array = (np.arange(int(np.prod(shape))) % 251).astype(dtype).reshape(shape)
    wrong = []
    orders = list(itertools.permutations(range(len(shape))))
    for order in orders:
        view = array.transpose(order)
        target = np.empty(view.shape, dtype)
        copy_rearranged(view, target)
        wrong += [order] * (target.tobytes() != view.tobytes())

    assert len(orders) > 1
    assert wrong == []


def test_part_of_a_larger_array():
    """A column block, whose rows lie far apart, is transposed exactly."""
    array = np.arange(900 * 2000, dtype=np.int32).reshape(900, 2000)
    target = np.empty((700, 900), np.int32)
    copy_rearranged(array[:, 650:1350].T, target)

    np.testing.assert_array_equal(target, array[:, 650:1350].T)
