"""Convolution and pooling with TensorFlow's SAME padding, computed at each call or fixed by a fold."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from porter.same_padding.amounts import Pads, Pair, pads_for, pair, recorded_pads_for, window_of
from porter.same_padding.padding_error import SamePaddingError

# Up to here the larger kernel's extra products cost less than the padded copy; at 32 channels they cost four
# times more (benchmarks/same_padding.py measures whole networks).
_FEW_CHANNELS = 4
# Products that take as long as copying one number: between 85 and 350 for 3x3 convolutions on one core.
_PRODUCTS_PER_COPY = 100
# torch before 2.7 cannot tell compiling from exporting, so there every graph is written as for an export.
_is_exporting = getattr(torch.compiler, "is_exporting", lambda: True)


class FixedSize(NamedTuple):
    """What a fold has fixed: the only input size (height, width) a module accepts, and its pads."""

    module: str
    size: Pair
    pads: Pads


class Conv2dSame(nn.Conv2d):
    """`torch.nn.Conv2d` that pads as `tf.nn.conv2d(..., padding="SAME")` does, at every input size.

    Parameters, their names and their initial values are those of `torch.nn.Conv2d`. Shapes: (N, C, H, W) to
    (N, C_out, ceil(H / stride), ceil(W / stride)); the batch axis may be left out.

    On the CPU most convolutions do not copy their input into a padded one. Padding (p, p + 1) is computed as
    padding p + stride on both sides, and the outputs at the near edge, one too many, are cut off. An eager
    convolution of few channels per group (depthwise, or of an image) pads p + 1 on both sides instead, with a
    kernel that has one more row and column of zeros in front.
    The larger kernel is made from the parameter at each call, so it is never out of date. A non-finite input
    value then also reaches outputs whose window it only touches with those zeros (0 * inf is nan).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Taps along (height, width), or one number for both.
        stride: Step along (height, width), in pixels.
        dilation: Distance between taps along (height, width), in pixels.
        groups: Number of independent channel groups.
        bias: Whether to add a bias per output channel.
        device: Where to make the parameters.
        dtype: Element type of the parameters.
    """

    folded: FixedSize | None = None

    def __init__(  # noqa: PLR0913, PLR0917  torch.nn.Conv2d's own signature
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,  # noqa: FBT001, FBT002  torch.nn.Conv2d's own signature
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            0,
            dilation,
            groups,
            bias,
            device=device,
            dtype=dtype,
        )

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  torch.nn.Conv2d's own signature
        """Convolve `input`, (N, C, H, W) or (C, H, W), padded as SAME."""
        x, pads = _placed(self, input)
        recorded = _is_recorded(x)
        if (self.folded is not None or not recorded) and pads.symmetric:
            return self._convolve(x, self.weight, (pads.top, pads.left))
        if not recorded and x.device.type == "cpu":
            few = self.weight.shape[1] <= _FEW_CHANNELS and self.dilation == (1, 1)
            if few and not torch.compiler.is_compiling():
                return self._convolve_grown(x, pads)
            if self._crops_cheaply(x, pads):
                return self._convolve_cropped(x, pads)
        return self._convolve(functional.pad(x, pads), self.weight, (0, 0))

    def _convolve_grown(self, x: Tensor, pads: Pads) -> Tensor:
        kernel = functional.pad(self.weight, (pads.right - pads.left, 0, pads.bottom - pads.top, 0))
        return self._convolve(x, kernel, (pads.bottom, pads.right))

    def _convolve_cropped(self, x: Tensor, pads: Pads) -> Tensor:
        # Copied, because a part of a tensor has no view() of another shape; compiled, the next layer does it.
        rows, columns = pads.bottom - pads.top, pads.right - pads.left  # 1 if the axis pads unequally
        return self._convolve(x, self.weight, self._outer_padding(pads))[..., rows:, columns:].clone()

    def _crops_cheaply(self, x: Tensor, pads: Pads) -> bool:
        if self.in_channels <= _FEW_CHANNELS:
            return False  # oneDNN's kernel for images slows down
        if any(p >= e for p, e in zip(self._outer_padding(pads), window_of(self).extent, strict=True)):
            return False  # oneDNN has no fast kernel for a window of nothing but padding
        height, width = x.shape[-2:]
        rows, columns = -(-height // self.stride[0]), -(-width // self.stride[1])
        saved = self.in_channels * height * width
        if not torch.compiler.is_compiling():
            saved -= self.out_channels * rows * columns
        return (rows + columns + 1) * self.weight.numel() <= _PRODUCTS_PER_COPY * saved

    def _outer_padding(self, pads: Pads) -> Pair:
        rows, columns = pads.bottom - pads.top, pads.right - pads.left
        return pads.top + rows * self.stride[0], pads.left + columns * self.stride[1]

    def _convolve(self, x: Tensor, kernel: Tensor, padding: Pair) -> Tensor:
        return functional.conv2d(
            x, kernel, self.bias, pair(self.stride), padding, pair(self.dilation), self.groups
        )

    def extra_repr(self) -> str:
        """Return `torch.nn.Conv2d`'s description with the padding that is really used."""
        bias = "" if self.bias is not None else ", bias=False"
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"dilation={self.dilation}, groups={self.groups}{bias}, {_padding_repr(self.folded)}"
        )


class MaxPool2dSame(nn.MaxPool2d):
    """`torch.nn.MaxPool2d` that pads as `tf.nn.max_pool2d(..., padding="SAME")` does: with minus infinity.

    Shapes: (N, C, H, W) to (N, C, ceil(H / stride), ceil(W / stride)); the batch axis may be left out.

    Args:
        kernel_size: Taps along (height, width), or one number for both.
        stride: Step along (height, width), in pixels; the kernel size when None.
        dilation: Distance between taps along (height, width), in pixels.
    """

    folded: FixedSize | None = None

    def __init__(
        self, kernel_size: int | Pair, stride: int | Pair | None = None, dilation: int | Pair = 1
    ) -> None:
        super().__init__(kernel_size, stride, 0, dilation)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  torch.nn.MaxPool2d's own signature
        """Pool `input`, (N, C, H, W) or (C, H, W), padded as SAME."""
        x, pads = _placed(self, input)
        kernel, stride, dilation = window_of(self)
        if dilation == (1, 1) and _fits_ceil_mode(x, stride, pads):
            return functional.max_pool2d(x, kernel, stride, (pads.top, pads.left), ceil_mode=True)
        padded = functional.pad(x, pads, value=_lowest(x.dtype))
        return functional.max_pool2d(padded, kernel, stride, 0, dilation)

    def extra_repr(self) -> str:
        """Return the window and the padding that is really used."""
        kernel, stride, dilation = window_of(self)
        return f"kernel_size={kernel}, stride={stride}, dilation={dilation}, {_padding_repr(self.folded)}"


class AvgPool2dSame(nn.AvgPool2d):
    """`torch.nn.AvgPool2d` that pads as `tf.nn.avg_pool2d(..., padding="SAME")`: padding is never counted.

    Shapes: (N, C, H, W) to (N, C, ceil(H / stride), ceil(W / stride)); the batch axis may be left out.

    Args:
        kernel_size: Taps along (height, width), or one number for both.
        stride: Step along (height, width), in pixels; the kernel size when None.
    """

    folded: FixedSize | None = None

    def __init__(self, kernel_size: int | Pair, stride: int | Pair | None = None) -> None:
        super().__init__(kernel_size, stride, 0, count_include_pad=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  torch.nn.AvgPool2d's own signature
        """Pool `input`, (N, C, H, W) or (C, H, W), over the positions that exist."""
        x, pads = _placed(self, input)
        kernel, stride, _ = window_of(self)
        if _fits_ceil_mode(x, stride, pads):
            padding = pads.top, pads.left
            return functional.avg_pool2d(x, kernel, stride, padding, ceil_mode=True, count_include_pad=False)
        # The share of each window that lies inside the input undoes the division by the whole window.
        inside = torch.ones_like(x[..., :1, :, :])
        share = functional.avg_pool2d(functional.pad(inside, pads), kernel, stride)
        return functional.avg_pool2d(functional.pad(x, pads), kernel, stride) / share

    def extra_repr(self) -> str:
        """Return the window and the padding that is really used."""
        kernel, stride, _ = window_of(self)
        return f"kernel_size={kernel}, stride={stride}, {_padding_repr(self.folded)}"


def _lowest(dtype: Any) -> float:
    """Return what a maximum never takes; `dtype` is a symbol while torch.fx traces."""
    if isinstance(dtype, torch.dtype) and not dtype.is_floating_point:
        return torch.iinfo(dtype).min
    return -torch.inf


SameModule: TypeAlias = Conv2dSame | MaxPool2dSame | AvgPool2dSame


def _placed(module: SameModule, x: Tensor) -> tuple[Tensor, Pads]:
    if module.folded is None:
        pads_of = recorded_pads_for if _is_recorded(x) else pads_for
        return x, pads_of(x.shape[-2], x.shape[-1], window_of(module))
    return _checked(x, module.folded), module.folded.pads


def _checked(x: Any, folded: FixedSize) -> Any:
    height, width = x.shape[-2], x.shape[-1]
    if _is_traced():
        return x if torch.onnx.is_in_onnx_export() else _guarded(x, folded.size)
    if isinstance(x, torch.fx.Proxy):
        for found, wanted in zip((height, width), folded.size, strict=True):
            torch._assert(found == wanted, f"module {folded.module!r} takes {folded.size} only")  # noqa: SLF001
        return x
    if (height, width) != folded.size:
        raise SamePaddingError(
            "same-padding/input-size",
            f"module {folded.module!r} was folded for one input size",
            expected="{}x{}".format(*folded.size),
            found=f"{height}x{width}",
            hint="Fold again for this size, or restore_padding() to take every size",
        )
    return x


def _guarded(x: Tensor, size: Pair) -> Tensor:
    """Return `x` by operations that stay in a trace, where a comparison would be frozen.

    They refuse other sizes: the reshape another number of pixels, the expand the rest (1 x 256 for 16 x 16).
    """
    flat = x.reshape(*x.shape[:-2], size[0] * size[1])
    return flat.reshape(x.shape).expand(*x.shape[:-2], *size)


def _is_recorded(x: Tensor) -> bool:
    """Whether the call writes a graph for other sizes too, so that no choice may look at the size."""
    if torch.compiler.is_compiling():
        return _is_exporting() or not (_is_constant(x.shape[-2]) and _is_constant(x.shape[-1]))
    return _is_traced() or type(x.shape[-1]) is not int


def _is_constant(size: int) -> bool:
    # While torch.compile records, every size looks like an int; only a constant has a known remainder.
    known: Any = torch.fx.experimental.symbolic_shapes.statically_known_true
    return bool(known(size % 2 == 0) or known(size % 2 == 1))


def _is_traced() -> bool:
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def _fits_ceil_mode(x: Tensor, stride: Pair, pads: Pads) -> bool:
    if torch.compiler.is_compiling() or _is_recorded(x):
        return False  # compiled for the CPU, a pool of one image is five to ten times slower with ceil_mode
    # ceil_mode lets the last window hang over the end, which is SAME's odd position, but not at stride 1.
    return (stride[0] > 1 or pads.top == pads.bottom) and (stride[1] > 1 or pads.left == pads.right)


def _padding_repr(folded: FixedSize | None) -> str:
    if folded is None:
        return "padding=same"
    pads: Any = (folded.pads.top, folded.pads.left) if folded.pads.symmetric else tuple(folded.pads)
    return f"padding={pads}, input_size={folded.size}"
