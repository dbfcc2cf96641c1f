"""Rewrite a model's layers in place to TensorFlow's SAME padding, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.utils import parametrize

from porter.same_padding.modules import AvgPool2dSame, Conv2dSame, MaxPool2dSame
from porter.same_padding.padding_error import SamePaddingError
from porter.same_padding.same_layers import Decision, Layer, has_own_forward, judge, native_padding

# In the instance's __dict__, so that copies and pickles of the model can be restored too.
_BEFORE = "_before_same_padding"
_FOLDED = "folded"


@dataclass(frozen=True)
class Change:
    """What was done to one layer, or why nothing was.

    Attributes:
        name: The module's name in the model.
        action: ``dynamic``: pads at each call. ``native``: one padding on both sides. ``constant``: fixed,
            the sides differ. ``kept``: left alone though it might be SAME. ``restored``: as it was.
        reason: Why, in a few words.
        before: The layer's description before.
        after: The layer's description after.
    """

    name: str
    action: Literal["dynamic", "native", "constant", "kept", "restored"]
    reason: str
    before: str
    after: str


def emulate_same_padding(
    model: nn.Module, *, include: Iterable[str] | None = None, exclude: Iterable[str] | None = None
) -> tuple[Change, ...]:
    """Make the convolutions and pools of `model` pad as TensorFlow's SAME does, in place.

    Layers stay the same objects with the same parameters, hooks and state-dict names; only their class
    changes. What SAME pads symmetrically at every input size (stride 1, odd extent) is or becomes a native
    `torch.nn` layer; the rest pads at each call. The rule, per Conv2d, MaxPool2d and AvgPool2d:

    - a subclass with a forward of its own (timm's `Conv2dSame`) is run on small inputs: if it computes SAME,
      of nothing but its kernel and bias, it is replaced, otherwise kept and reported;
    - padding that yields ceil(size / stride) outputs at some input size stands for SAME, at all of them;
    - padding 0 with a window above 1x1 is VALID, kept and reported: so are written VALID, patch embeddings
      and layers with an explicit pad before them;
    - other paddings, `padding_mode`, `divisor_override`, `return_indices`, parametrized and lazy layers, and
      layers whose instance was given another forward, are kept and reported.

    Padding done by functions inside a forward is invisible here, as are functional convolutions and pools.

    Args:
        model: Any model; call this before `torch.compile`, tracing or export.
        include: Patterns (`fnmatch`) of module names that are SAME. They are rewritten whatever their padding
            is now, and nothing else is looked at. None: the rule above decides.
        exclude: Patterns of module names to leave alone.

    Returns:
        One record per layer that was rewritten, or kept though it might be SAME.

    Raises:
        SamePaddingError: ``same-padding/scripted-model`` for a scripted or traced model;
            ``same-padding/unmatched-pattern`` for a pattern that names no layer.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise SamePaddingError(
            "same-padding/scripted-model",
            "a scripted or traced model has its padding compiled in",
            hint="Emulate before tracing (an emulated model can be traced and exported, not scripted)",
        )
    layers = _layers(model)
    chosen = None if include is None else _matching(layers, include, "include")
    left_out = _matching(layers, exclude or (), "exclude")
    decisions = [
        (names[0], layer, judge(layer, forced=chosen is not None))
        for layer, names in layers.items()
        if layer not in left_out and (chosen is None or layer in chosen)
    ]
    return tuple(_apply(*decision) for decision in decisions if decision[2].action != "nothing")


def restore_padding(model: nn.Module) -> tuple[Change, ...]:
    """Undo `emulate_same_padding` and `fold_same_padding` exactly: class, attributes and description.

    Parameters are left as they are now, so training done in between is kept. Layers that were built as SAME
    stay that, and take every size again.

    Returns:
        One record per layer that was restored.

    Raises:
        SamePaddingError: ``same-padding/parametrized`` for a layer that was parametrized after the emulation;
            nothing is restored then.
    """
    changed = {
        layer: names[0]
        for layer, names in _layers(model).items()
        if _BEFORE in layer.__dict__ or _FOLDED in layer.__dict__
    }
    for layer, name in changed.items():
        if parametrize.is_parametrized(layer):
            raise SamePaddingError(
                "same-padding/parametrized",
                f"module {name!r} was parametrized after its padding was emulated",
                hint="Call torch.nn.utils.parametrize.remove_parametrizations on it first",
            )
    return tuple(_restored(name, layer) for layer, name in changed.items())


def same_modules(model: nn.Module) -> Iterator[tuple[str, Conv2dSame | MaxPool2dSame | AvgPool2dSame]]:
    """Yield (name, layer) of every layer that pads as SAME at run time."""
    for name, module in model.named_modules():
        if isinstance(module, Conv2dSame | MaxPool2dSame | AvgPool2dSame):
            yield name, module


def _layers(model: nn.Module) -> dict[Layer, list[str]]:
    layers: dict[Layer, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            layers.setdefault(module, []).append(name)
    return layers


def _matching(layers: dict[Layer, list[str]], patterns: Iterable[str], argument: str) -> set[Layer]:
    found: set[Layer] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        matched = {
            layer for layer, names in layers.items() if any(fnmatchcase(name, pattern) for name in names)
        }
        if not matched:
            raise SamePaddingError(
                "same-padding/unmatched-pattern",
                f"{argument} pattern {pattern!r} names no convolution or pooling layer",
                hint="Patterns match whole module names: 'blocks.0.*' is everything below blocks.0",
            )
        found |= matched
    return found


def _apply(name: str, layer: Layer, decision: Decision) -> Change:
    before = repr(layer)
    if decision.action == "dynamic":
        _become(layer, _same_class(layer), {})
    elif decision.action == "native":
        attributes: dict[str, Any] = {"padding": native_padding(layer)}
        if isinstance(layer, nn.AvgPool2d):
            attributes["count_include_pad"] = False
        _become(layer, _native_class(layer), attributes)
    action: Any = decision.action
    return Change(name, action, decision.reason, before, repr(layer))


def _become(layer: Layer, cls: type[Layer], attributes: dict[str, Any]) -> None:
    # Emulated anew, after a person changed the layer, what counts is what it was at first.
    original, kept = layer.__dict__.get(_BEFORE, (type(layer), {}))
    layer.__dict__[_BEFORE] = original, {name: layer.__dict__[name] for name in attributes} | kept
    layer.__dict__.update(attributes)
    layer.__class__ = cls


def _restored(name: str, layer: Layer) -> Change:
    before = repr(layer)
    layer.__dict__.pop(_FOLDED, None)
    if _BEFORE not in layer.__dict__:
        return Change(name, "restored", "takes every size, as it was built", before, repr(layer))
    cls, attributes = layer.__dict__.pop(_BEFORE)
    layer.__dict__.update(attributes)
    layer.__class__ = cls
    return Change(name, "restored", "as it was before the emulation", before, repr(layer))


def _same_class(layer: Layer) -> type[Conv2dSame | MaxPool2dSame | AvgPool2dSame]:
    if isinstance(layer, nn.Conv2d):
        return Conv2dSame
    return MaxPool2dSame if isinstance(layer, nn.MaxPool2d) else AvgPool2dSame


def _native_class(layer: Layer) -> type[Layer]:
    # A subclass that only inherits keeps its class; one with a forward of its own would pad a second time.
    if not has_own_forward(layer):
        return type(layer)
    for cls in (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d):
        if isinstance(layer, cls):
            return cls
    raise AssertionError(layer)
