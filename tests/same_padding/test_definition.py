"""The layers against SAME as TensorFlow documents it, written out in numpy with explicit padding."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from porter.same_padding import (  # noqa: E402  after the check that torch is there
    AvgPool2dSame,
    Conv2dSame,
    MaxPool2dSame,
    SamePaddingError,
    same_padding,
)

lengths = st.integers(1, 33)
kernels = st.tuples(st.integers(1, 7), st.integers(1, 7))
strides = st.tuples(st.integers(1, 4), st.integers(1, 4))
dilations = st.tuples(st.integers(1, 3), st.integers(1, 3))


def documented(size, kernel, stride, dilation):
    """Return (before, after) from TensorFlow's text: the output is ceil(size / stride), the rest follows."""
    outputs = math.ceil(size / stride)
    span = (outputs - 1) * stride + (kernel - 1) * dilation + 1
    total = max(span - size, 0)
    return math.floor(total / 2), math.ceil(total / 2)


def patches(x, kernel, stride, dilation, fill):
    """Return [N, C, OH, OW, KH, KW], the windows of `x` after explicit padding, cut out one by one."""
    sides = [documented(n, k, s, d) for n, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True)]
    padded = np.pad(x, [(0, 0), (0, 0), *sides], constant_values=fill)
    out_h, out_w = (math.ceil(n / s) for n, s in zip(x.shape[2:], stride, strict=True))
    return np.array(
        [
            [
                padded[
                    :,
                    :,
                    i * stride[0] : i * stride[0] + (kernel[0] - 1) * dilation[0] + 1 : dilation[0],
                    j * stride[1] : j * stride[1] + (kernel[1] - 1) * dilation[1] + 1 : dilation[1],
                ]
                for j in range(out_w)
            ]
            for i in range(out_h)
        ]
    ).transpose(2, 3, 0, 1, 4, 5)


def random(*shape, seed=0):
    """Return standard normal float64 numbers."""
    return np.random.default_rng(seed).standard_normal(shape)


@given(lengths, st.integers(1, 7), st.integers(1, 9), st.integers(1, 5))
def test_amounts(size, kernel, stride, dilation):
    """`same_padding` is what the documentation says, also with stride and dilation together."""
    assert same_padding(size, kernel, stride, dilation) == documented(size, kernel, stride, dilation)


@pytest.mark.parametrize("arguments", [(0, 3), (5, 0), (5, 3, 0), (5, 3, 1, -1)])
def test_amounts_refuse_what_is_not_positive(arguments):
    """A size, kernel, stride or dilation below 1 is refused by name."""
    with pytest.raises(SamePaddingError, match="of a SAME window; expected at least 1") as refused:
        same_padding(*arguments)
    assert refused.value.code == "same-padding/not-positive"


@settings(deadline=None, max_examples=150)
@given(
    lengths,
    lengths,
    kernels,
    strides,
    dilations,
    st.sampled_from([1, 2, 8]),
    st.booleans(),
    st.integers(0, 9),
)
def test_convolution(  # noqa: PLR0917  hypothesis passes what it draws
    height, width, kernel, stride, dilation, groups, bias, seed
):
    """Any kernel, stride, dilation, group count, bias and input shape gives the documented sum."""
    conv = Conv2dSame(8, 8, kernel, stride, dilation, groups, bias, dtype=torch.float64)
    x = random(2, 8, height, width, seed=seed)
    weight = conv.weight.detach().numpy().reshape(groups, 8 // groups, 8 // groups, *kernel)
    windows = patches(x, kernel, stride, dilation, 0.0)
    windows = windows.reshape(2, groups, 8 // groups, *windows.shape[2:])
    expected = np.einsum("ngcijhw,gochw->ngoij", windows, weight).reshape(2, 8, *windows.shape[3:5])
    if bias:
        expected += conv.bias.detach().numpy()[:, None, None]

    np.testing.assert_allclose(conv(torch.from_numpy(x)).detach().numpy(), expected, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=150)
@given(lengths, lengths, kernels, strides, st.booleans(), st.integers(0, 9))
def test_max_pool(height, width, kernel, stride, integers, seed):
    """Padding never wins a maximum, also where every input is a negative whole number."""
    x = random(2, 3, height, width, seed=seed)
    if integers:
        x = np.floor(x) - 10
    expected = patches(x, kernel, stride, (1, 1), -np.inf).max((-2, -1))

    np.testing.assert_array_equal(MaxPool2dSame(kernel, stride)(torch.from_numpy(x)).numpy(), expected)


@settings(deadline=None, max_examples=60)
@given(st.integers(7, 33), st.integers(7, 33), st.tuples(*[st.integers(1, 3)] * 2), strides, dilations)
def test_dilated_max_pool(height, width, kernel, stride, dilation):
    """A dilated maximum sees the documented positions."""
    x = random(1, 2, height, width)
    expected = patches(x, kernel, stride, dilation, -np.inf).max((-2, -1))

    np.testing.assert_array_equal(
        MaxPool2dSame(kernel, stride, dilation)(torch.from_numpy(x)).numpy(), expected
    )


@settings(deadline=None, max_examples=150)
@given(lengths, lengths, kernels, strides, st.integers(0, 9))
def test_average_pool(height, width, kernel, stride, seed):
    """An average divides by the positions that exist, never by those that padding added."""
    x = random(2, 3, height, width, seed=seed)
    expected = np.nanmean(patches(x, kernel, stride, (1, 1), np.nan), (-2, -1))

    np.testing.assert_allclose(
        AvgPool2dSame(kernel, stride)(torch.from_numpy(x)).numpy(), expected, rtol=0, atol=1e-12
    )


def test_average_of_ones_is_one():
    """Corners of a constant image keep its value, which timm's AvgPool2dSame does not do."""
    ones = torch.ones(1, 1, 4, 4)

    assert torch.equal(AvgPool2dSame(3, 2)(ones), torch.ones(1, 1, 2, 2))


@pytest.mark.parametrize(
    "make", [MaxPool2dSame, AvgPool2dSame, lambda k, s: Conv2dSame(3, 3, k, s, groups=3)]
)
def test_an_input_without_batch_axis(make):
    """(C, H, W) in, (C, H', W') out, as torch's own layers do."""
    module, x = make(3, 2), torch.randn(3, 8, 9)

    assert torch.equal(module(x), module(x[None])[0])
