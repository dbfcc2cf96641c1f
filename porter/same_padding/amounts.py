"""How much TensorFlow's SAME pads: from plain sizes, and from the sizes of a graph being recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias, cast

import torch
from torch import nn

from porter.same_padding.padding_error import SamePaddingError

Pair: TypeAlias = tuple[int, int]


class Window(NamedTuple):
    """A sliding window, each field as (height, width)."""

    kernel: Pair
    stride: Pair
    dilation: Pair

    @property
    def extent(self) -> Pair:
        """Input rows and columns that one output sees, dilation counted."""
        (kh, kw), (dh, dw) = self.kernel, self.dilation
        return (kh - 1) * dh + 1, (kw - 1) * dw + 1


class Pads(NamedTuple):
    """Zeros to add on each side, in the order `torch.nn.functional.pad` takes them."""

    left: int
    right: int
    top: int
    bottom: int

    @property
    def symmetric(self) -> bool:
        """Whether one number per axis says it all, as a native `padding=` needs."""
        return self.left == self.right and self.top == self.bottom


def same_padding(size: int, kernel: int, stride: int = 1, dilation: int = 1) -> Pair:
    """Return the padding (before, after) of TensorFlow's SAME along one axis.

    TensorFlow defines SAME by its output, `ceil(size / stride)`
    (https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2): the missing positions are added,
    the odd one at the end.

    Args:
        size: Input length of the axis, in pixels.
        kernel: Kernel length along the axis, in taps.
        stride: Step between two outputs, in pixels.
        dilation: Distance between two taps, in pixels.

    Raises:
        SamePaddingError: ``same-padding/not-positive`` when an argument is below 1.
    """
    given = {"size": size, "kernel": kernel, "stride": stride, "dilation": dilation}
    for name, value in given.items():
        if value < 1:
            raise SamePaddingError(
                "same-padding/not-positive", f"{name} of a SAME window", expected="at least 1", found=value
            )
    before, after = _along_axis(size, kernel, stride, dilation)
    return before, after


def pads_for(height: int, width: int, window: Window) -> Pads:
    """Return SAME's pads for an input of height x width pixels."""
    (kh, kw), (sh, sw), (dh, dw) = window
    return Pads(*_along_axis(width, kw, sw, dw), *_along_axis(height, kh, sh, dh))


def recorded_pads_for(height: int, width: int, window: Window) -> Pads:
    """Return pads that compute SAME, for sizes that are symbols (`SymInt`, fx) or traced 0-d tensors.

    The far side gets zeros up to extent - 1 in all, at most stride - 1 more than SAME and never read: the
    padded size is then size + extent - 1 and the output (size - 1) // stride + 1, which later layers can
    reason about; with SAME's own pads the sizes of five layers already grow too large for torch.export.
    """
    near_width, near_height = (
        _missing(size, *axis, clamp=_clamp_recorded) // 2
        for size, *axis in reversed(list(zip((height, width), *window, strict=True)))
    )
    extent_height, extent_width = window.extent
    return Pads(near_width, extent_width - 1 - near_width, near_height, extent_height - 1 - near_height)


def window_of(module: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) -> Window:
    """Return the window of a convolution or pooling layer."""
    dilation = 1 if isinstance(module, nn.AvgPool2d) else module.dilation
    return Window(pair(module.kernel_size), pair(module.stride), pair(dilation))


def pair(value: int | tuple[int, ...]) -> Pair:
    """Return (height, width) from torch's shorthand, if one number stands for both."""
    if not isinstance(value, Iterable):
        return value, value
    first, *rest = value
    return first, rest[0] if rest else first


def _along_axis(size: int, kernel: int, stride: int, dilation: int) -> Pair:
    total = _missing(size, kernel, stride, dilation, clamp=lambda missing: max(missing, 0))
    before = total // 2
    return before, total - before


def _missing(size: int, kernel: int, stride: int, dilation: int, *, clamp: Callable[[Any], int]) -> int:
    # (ceil(size / stride) - 1) * stride + extent - size, rearranged: no division, and no negative dividend,
    # which ONNX rounds towards zero. A recorded graph keeps every operation, so constants are decided first.
    extent = (kernel - 1) * dilation + 1
    if stride == 1 or extent == 1:
        return extent - 1
    missing = extent - 1 - (size - 1) % stride
    return missing if extent >= stride else clamp(missing)


def _clamp_recorded(missing: Any) -> int:
    clamped = missing.clamp(min=0) if isinstance(missing, torch.Tensor) else torch.sym_max(missing, 0)
    return cast(int, clamped)
