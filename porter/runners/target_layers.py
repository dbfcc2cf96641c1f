"""Layers of a PyTorch network beside those of a source: equal values, loading, trial of what may differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from porter.core.checkpoint import Array
from porter.errors import PorterError
from porter.runners.bare_parameters import BareParameter
from porter.runners.graph_operations import SourceOperation
from porter.runners.layer_fits import WITH_EPSILON, Fit, values_of
from porter.same_padding import emulate_same_padding, restore_padding

EQUAL = 1e-9  # relative to the largest value; float64 leaves 1e-13 at the end of the deepest networks
POOLS = (nn.MaxPool2d, nn.AvgPool2d)
_QUICK = 32


def channels_last(x: torch.Tensor, module: nn.Module) -> Array:
    """Return what a module takes or gives as TensorFlow orders it: channels in the last axis."""
    values = x.detach()
    if values.dim() == 4 and has_channels_first(module):
        values = values.permute(0, 2, 3, 1)
    return values.contiguous().numpy()


def has_channels_first(module: nn.Module) -> bool:
    """Whether a module takes and gives images as (N, C, H, W)."""
    if isinstance(module, BareParameter):
        return module.has_channels_first
    if isinstance(module, nn.LayerNorm):
        return _normalises_images(module)
    return not isinstance(module, nn.Linear)


def _normalises_images(norm: nn.LayerNorm) -> bool:
    """Whether a layer norm is one of those that take (N, C, H, W), as timm and torchvision derive them."""
    channels = norm.normalized_shape[-1]
    try:
        type(norm).forward(norm, torch.zeros(1, channels, 2, channels + 1, dtype=norm.weight.dtype))
    except RuntimeError:  # the last axis is not the channels
        return False
    return True


def _is_one_tensor(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether shapes differ only in that pixels, or an attention's heads, are apart or in one axis."""
    same_channels = found[-1:] == wanted[-1:]
    return same_channels or _but_for_heads(found, wanted) or _but_for_heads(_sequence(found), wanted)


def _but_for_heads(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    before = min(len(found), len(wanted)) - 1
    return before > 0 and found[:before] == wanted[:before]


def _sequence(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of (N, H, W, C) as (N, H W, C)."""
    return (shape[0], shape[1] * shape[2], shape[3]) if len(shape) == 4 else ()


def difference(found: Array, wanted: Array) -> float:
    """Return max|found - wanted| / max|wanted|; infinite where the shapes are not those of one tensor."""
    if found.shape != wanted.shape:
        if found.size != wanted.size or not _is_one_tensor(found.shape, wanted.shape):
            return float("inf")
        found = found.reshape(wanted.shape)
    largest = float(np.abs(wanted).max(initial=0.0)) or 1.0
    quick = np.abs(found.reshape(-1)[:_QUICK] - wanted.reshape(-1)[:_QUICK]).max(initial=0.0)
    if quick > 1e-3 * largest:
        return float(quick / largest)
    return float(np.abs(found - wanted).max(initial=0.0) / largest)


def factor(found: Array, wanted: Array) -> float | None:
    """Return the number that `found` is to be multiplied by to be `wanted`, to 12 digits; None if none is."""
    if found.size != wanted.size or not _is_one_tensor(found.shape, wanted.shape):
        return None
    place = int(np.abs(found).argmax()) if found.size else 0
    largest = found.reshape(-1)[place] if found.size else 0.0
    scale = float(f"{wanted.reshape(-1)[place] / largest:.12g}") if largest else 0.0
    return scale if scale and difference(found * scale, wanted) < EQUAL else None


def flattened(base: Array) -> Array:
    """Return (N, H, W, C) as PyTorch flattens it: (N, C x H x W)."""
    return base.transpose(0, 3, 1, 2).reshape(len(base), -1)


def load(module: nn.Module, fit: Fit, weights: Mapping[str, Array], folded: Array | None) -> None:
    """Give a module a layer's variables; `folded` is a bias that goes into the running mean."""
    with torch.no_grad():
        for leaf, value in values_of(fit, weights).items():
            is_lowered = leaf == "running_mean" and folded is not None
            lowered = value - folded if is_lowered else value
            getattr(module, leaf).copy_(torch.from_numpy(np.ascontiguousarray(lowered)))
        for leaf, constant in fit.constants:
            getattr(module, leaf).fill_(constant)


def adjustments(module: nn.Module, operation: SourceOperation) -> Iterator[tuple[str, Any]]:
    """Yield what may make a module compute what an operation does, each applied while it is tried."""
    padding = operation.attributes.get("padding")
    if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) and padding is not None:
        with _same(module) as changed:
            if changed:
                yield "same_padding", True
    epsilon = operation.attributes.get("epsilon")
    if isinstance(module, WITH_EPSILON) and epsilon is not None and epsilon != module.eps:
        before: float = module.eps
        module.eps = float(epsilon)
        try:
            yield "eps", float(epsilon)
        finally:
            module.eps = before


def apply_adjustment(module: nn.Module, name: str, value: Any) -> None:
    """Change a module for good."""
    if name == "eps":
        module.eps = value
    elif name == "same_padding":
        emulate_same_padding(_holder(module), include=["layer"])


def undo_adjustment(module: nn.Module, name: str, before: Any) -> None:
    """Take back what `apply_adjustment` did."""
    if name == "eps":
        module.eps = before
    elif name == "same_padding":
        restore_padding(_holder(module))


def wants_same(
    module: nn.Module, operation: SourceOperation, x: torch.Tensor, call: Callable[..., Any]
) -> bool:
    """Whether the source pads SAME and the module does so at some sizes of images only."""
    if operation.attributes.get("padding") != "same" or not isinstance(
        module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d
    ):
        return False
    other = x[..., :-1, :-1]
    if min(other.shape[-2:]) < 2:
        return False
    plain = call(module, other)
    with _same(module) as changed:
        return changed and not _equal(call(module, other), plain)


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and bool(torch.allclose(one, other, rtol=1e-9, atol=1e-9))


@contextmanager
def _same(module: nn.Module) -> Iterator[bool]:
    try:
        changes = emulate_same_padding(_holder(module), include=["layer"])
    except PorterError:
        yield False
        return
    done = any(change.action in ("dynamic", "native") for change in changes)
    try:
        yield done
    finally:
        if done:
            restore_padding(_holder(module))


def _holder(module: nn.Module) -> nn.Module:
    holder = nn.Module()
    holder.add_module("layer", module)
    return holder


def owns_parameters(module: nn.Module) -> bool:
    """Whether a module has parameters or buffers that are not its children's, and are kept with weights."""
    constants = module._non_persistent_buffers_set  # noqa: SLF001  (the filter of a blur)
    kept = [name for name, _ in module.named_buffers(recurse=False) if name not in constants]
    return bool(kept or next(module.parameters(recurse=False), None) is not None)
