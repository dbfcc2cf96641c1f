"""Decide whether a layer's padding stands for TensorFlow's SAME: by its numbers or by its behaviour."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils import parametrize

from porter.same_padding.amounts import Pair, pads_for, pair, window_of
from porter.same_padding.modules import AvgPool2dSame, Conv2dSame, MaxPool2dSame

Layer: TypeAlias = nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d
Action: TypeAlias = Literal["dynamic", "native", "kept", "nothing"]

# Sizes of every residue of a stride up to 4, both smaller and larger than usual kernels.
_PROBE_SIZES = ((5, 6), (6, 5), (7, 8), (8, 7))


class Decision(NamedTuple):
    """What to do with a layer: make it dynamic or native, keep it and say so, or nothing at all."""

    action: Action
    reason: str


def judge(layer: Layer, *, forced: bool) -> Decision:
    """Decide what SAME emulation does with `layer`.

    Args:
        layer: A convolution or pooling layer.
        forced: Whether a person named it as SAME: then its present padding is not asked.
    """
    if isinstance(layer, Conv2dSame | MaxPool2dSame | AvgPool2dSame):
        return Decision("nothing", "is SAME already")
    obstacle = _obstacle(layer)
    if obstacle is not None:
        return Decision("kept", obstacle)
    if has_own_forward(layer):
        if _holds_more(layer):
            return Decision(
                "kept", "has a forward of its own, and more than a kernel and a bias to use in it"
            )
        if is_same_by_behaviour(layer):
            return _rewritten(layer, "its own forward pads as SAME")
        return Decision("kept", "has a forward of its own that does not pad as SAME")
    return _judge_numbers(layer, forced=forced)


def has_own_forward(layer: Layer) -> bool:
    """Whether a subclass computes something that its attributes alone do not tell."""
    if isinstance(layer, nn.Conv2d):
        plain = type(layer)._conv_forward is nn.Conv2d._conv_forward  # noqa: SLF001  the hook subclasses override
        return not (plain and type(layer).forward is nn.Conv2d.forward)
    base = nn.MaxPool2d if isinstance(layer, nn.MaxPool2d) else nn.AvgPool2d
    return type(layer).forward is not base.forward


def is_same_by_behaviour(layer: Layer) -> bool:
    """Run a copy of `layer` on small inputs and compare with SAME; an average may count the padding.

    The copy has random parameters in float64 on the CPU: the layer's device, values and hooks play no part.
    It runs in training mode and in eval mode, on inputs small and large.
    """
    probe = _with_random_parameters(layer)
    references = _references(layer, probe)
    channels = layer.in_channels if isinstance(layer, nn.Conv2d) else 1
    for x in _probe_inputs(channels):
        for probe.training in (True, False):
            try:
                with torch.no_grad():
                    output = probe.forward(x)
            except Exception:  # noqa: BLE001  a foreign forward may fail in any way; then it is not recognised
                return False
            references = [same for same in references if _equal(output, same, x)]
    return bool(references)


def _probe_inputs(channels: int) -> Iterator[Tensor]:
    generator = torch.Generator("cpu").manual_seed(0)
    for size in _PROBE_SIZES:
        drawn = torch.rand(1, channels, *size, generator=generator, dtype=torch.float64, device="cpu")
        yield -0.5 - drawn  # below zero throughout, so that a maximum shows whether zeros were padded
        yield 1000.0 * (drawn - 0.5)  # so that a clamp or another activation shows


def _holds_more(layer: Layer) -> bool:
    own = {name for name, _ in layer.named_parameters()} | {name for name, _ in layer.named_buffers()}
    return bool(own - {"weight", "bias"}) or next(layer.children(), None) is not None


def is_native_everywhere(layer: Layer) -> bool:
    """Whether SAME pads the same amount on both sides at every input size."""
    window = window_of(layer)
    return window.stride == (1, 1) and all(extent % 2 == 1 for extent in window.extent)


def ceils_to_same(layer: Layer) -> bool:
    """Whether a pool without padding is SAME at every size, because its last window may hang over the end."""
    if isinstance(layer, nn.Conv2d) or not layer.ceil_mode or _given_padding(layer) != (0, 0):
        return False
    # With at most one missing position SAME puts it at the end, where ceil_mode lets the window hang over.
    window = window_of(layer)
    fits = all(s > 1 and e <= 2 for s, e in zip(window.stride, window.extent, strict=True))
    return fits and (isinstance(layer, nn.MaxPool2d) or not layer.count_include_pad)


def _equal(output: object, same: nn.Module, x: Tensor) -> bool:
    with torch.no_grad():
        expected = same(x)
    if not isinstance(output, Tensor) or output.shape != expected.shape:
        return False
    return torch.allclose(output, expected, rtol=1e-9, atol=1e-9)


def _with_random_parameters(layer: Layer) -> Layer:
    probe = copy.copy(layer)
    generator = torch.Generator("cpu").manual_seed(1)
    probe.__dict__["_parameters"] = {
        name: None
        if parameter is None
        else torch.randn(parameter.shape, generator=generator, dtype=torch.float64, device="cpu")
        for name, parameter in layer.named_parameters(recurse=False)
    } | {name: None for name, parameter in layer._parameters.items() if parameter is None}  # noqa: SLF001
    for hooks in ("_forward_hooks", "_forward_pre_hooks"):
        probe.__dict__[hooks] = OrderedDict()
    return probe


def _references(layer: Layer, probe: Layer) -> list[nn.Module]:
    window = window_of(layer)
    if isinstance(layer, nn.MaxPool2d):
        return [MaxPool2dSame(*window)]
    if isinstance(layer, nn.AvgPool2d):
        return [AvgPool2dSame(*window[:2]), _CountingAvgPool2dSame(*window[:2])]
    same = copy.copy(probe)
    same.__class__ = Conv2dSame
    return [same]


class _CountingAvgPool2dSame(AvgPool2dSame):
    """SAME average pooling as timm computes it: padding counts as zeros. Only used to recognise it."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  torch.nn.AvgPool2d's own signature
        window = window_of(self)
        pads = pads_for(input.shape[-2], input.shape[-1], window)
        return functional.avg_pool2d(functional.pad(input, pads), window.kernel, window.stride)


def _obstacle(layer: Layer) -> str | None:
    if isinstance(layer, LazyModuleMixin):
        return "has no parameters yet: run the model once first"
    if "forward" in layer.__dict__ or "_conv_forward" in layer.__dict__:
        return "its forward was replaced on the instance: emulate before that"
    if parametrize.is_parametrized(layer):
        return "is parametrized: remove the parametrizations first"
    return _setting_without_counterpart(layer)


def _setting_without_counterpart(layer: Layer) -> str | None:
    if isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros":
        return f"pads with padding_mode={layer.padding_mode!r}, which SAME never does"
    if isinstance(layer, nn.MaxPool2d) and layer.return_indices:
        return "returns indices, which SAME pooling has no counterpart for"
    if isinstance(layer, nn.AvgPool2d) and layer.divisor_override is not None:
        return "divides by a number of its own"
    return None


def _judge_numbers(layer: Layer, *, forced: bool) -> Decision:
    window, given = window_of(layer), _given_padding(layer)
    if given is None or (window.extent == (1, 1) and given == (0, 0)) or ceils_to_same(layer):
        return Decision("nothing", "is SAME at every size")
    if forced:
        return _rewritten(layer, "named in include")
    if given == (0, 0):
        return Decision("kept", "padding is 0, which is what VALID is written as: include it if it is SAME")
    if getattr(layer, "ceil_mode", False):
        return Decision("kept", "ceil_mode together with padding is not SAME: include it if it is")
    if all(_stands_for_same(*axis) for axis in zip(*window, given, strict=True)):
        return _rewritten(layer, f"padding {given} stands for SAME")
    return Decision("kept", f"padding {given} gives SAME's output size at no input size")


def _stands_for_same(kernel: int, stride: int, dilation: int, padding: int) -> bool:
    # floor((n + 2p - extent) / stride) + 1 equals ceil(n / stride) for some n exactly in this range.
    extent = (kernel - 1) * dilation + 1
    if extent == 1 or padding == 0:
        return extent == 1 and padding == 0
    return extent - stride <= 2 * padding <= extent + stride - 2


def _given_padding(layer: Layer) -> Pair | None:
    if layer.padding == "same":
        return None  # exists for stride 1 only, where it is SAME
    return (0, 0) if isinstance(layer.padding, str) else pair(layer.padding)


def _rewritten(layer: Layer, reason: str) -> Decision:
    if not is_native_everywhere(layer):
        return Decision("dynamic", reason)
    padding = native_padding(layer)
    settled = not has_own_forward(layer) and _given_padding(layer) == padding
    if settled and not (isinstance(layer, nn.AvgPool2d) and layer.count_include_pad):
        return Decision("nothing", "is SAME at every size")
    return Decision("native", reason)


def native_padding(layer: Layer) -> Pair:
    """Return the (height, width) padding of a layer that `is_native_everywhere`."""
    height, width = window_of(layer).extent
    return height // 2, width // 2
