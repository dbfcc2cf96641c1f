"""Layout patterns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from porter.core.layouts import parse_layout
from porter.errors import TableError

PATTERNS = [
    "h w i o -> o i h w",
    "h w c m -> (c m) 1 h w",
    "i o -> o i",
    "c -> c",
    "h k d -> (h k) d 1 1",
    "d k -> k d 1 1",
    "d h v -> d (h v) 1 1",
]


def test_conv_kernel_moves_output_channels_first():
    """HWIO becomes OIHW element by element."""
    kernel = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)

    result = parse_layout("h w i o -> o i h w").apply(kernel)

    assert result.shape == (5, 4, 2, 3)
    assert result[3, 2, 1, 0] == kernel[1, 0, 2, 3]


def test_depthwise_multiplier_varies_fastest():
    """Output channel c*M + m of a depthwise kernel is TensorFlow's channel c, multiplier m."""
    kernel = np.arange(3 * 3 * 4 * 2).reshape(3, 3, 4, 2)

    result = parse_layout("h w c m -> (c m) 1 h w").apply(kernel)

    assert result.shape == (8, 1, 3, 3)
    assert result[2 * 2 + 1, 0, 1, 2] == kernel[1, 2, 2, 1]


@pytest.mark.parametrize("pattern", PATTERNS)
@given(data=st.data())
def test_inverse_undoes_every_pattern(pattern, data):
    """The pattern read backwards restores every element, given the lengths that merging lost."""
    layout = parse_layout(pattern)
    axes = [axis for group in layout.source for axis in group]
    sizes = {axis: data.draw(st.integers(1, 4), label=axis) for axis in axes}
    array = np.arange(np.prod(list(sizes.values()))).reshape([sizes[axis] for axis in axes])

    restored = layout.inverse.apply(layout.apply(array), **sizes)

    np.testing.assert_array_equal(array, restored)


def test_target_shape_agrees_with_apply():
    """The shape that is promised is the shape that comes out."""
    layout = parse_layout("h k d -> (h k) d 1 1")

    assert layout.target_shape((4, 8, 16)) == layout.apply(np.zeros((4, 8, 16))).shape == (32, 16, 1, 1)


@pytest.mark.parametrize(
    ("pattern", "code"),
    [
        ("h w", "layout/syntax"),
        ("h w -> w -> h", "layout/syntax"),
        ("h ! -> h", "layout/syntax"),
        ("(h w -> h w", "layout/syntax"),
        ("h w -> h", "layout/axes"),
        ("h h -> h h", "layout/axes"),
        ("h w -> h w c", "layout/axes"),
    ],
)
def test_malformed_pattern_is_refused(pattern, code):
    """A pattern that is no bijection is refused with its own code."""
    with pytest.raises(TableError) as caught:
        parse_layout(pattern)

    assert code == caught.value.code


def test_wrong_rank_names_pattern_and_shape():
    """The message holds what a person needs to find the fault."""
    with pytest.raises(TableError, match=r"'i o -> o i'; expected 2 axes, found shape \(3,\)"):
        parse_layout("i o -> o i").target_shape((3,))


def test_merged_axis_that_does_not_divide_is_refused():
    """Splitting 10 rows into heads of 4 is an error, not a guess."""
    with pytest.raises(TableError, match="cannot split an axis of 10"):
        parse_layout("(h k) d 1 1 -> h k d").apply(np.zeros((10, 2, 1, 1)), h=4)
