"""Fix SAME padding for one input size, so that nothing is computed from sizes at run time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from porter.same_padding.amounts import Pair, pads_for, pair, window_of
from porter.same_padding.modules import FixedSize, SameModule
from porter.same_padding.padding_error import SamePaddingError
from porter.same_padding.rewriting import Change, same_modules
from porter.same_padding.same_layers import has_own_forward, judge


def fold_same_padding(model: nn.Module, input_size: int | Pair) -> tuple[Change, ...]:
    """Make the padding of an emulated model constant for images of `input_size`, in place.

    The model is run once, in eval mode and without gradients, on one black image to see what size each SAME
    layer gets. A layer whose pads are symmetric there pads natively; the others by one constant pad. Every
    folded layer refuses any other size. The weights are not touched: loading or training afterwards works as
    before. A model that is folded already is folded anew.

    Args:
        model: A model after `emulate_same_padding`, or one built with this package's layers.
        input_size: (height, width) of the images, in pixels, or one number for both; channels are those of
            the first convolution.

    Returns:
        One record per SAME layer: folded, or kept (dynamic) because the run did not reach it. None at all
        if the model has no such layer: it pads as torch does, unless `emulate_same_padding` changes that.

    Raises:
        SamePaddingError: ``same-padding/several-sizes`` when a layer sees more than one size in one run;
            ``same-padding/not-emulated`` when a layer is seen to pad as SAME without this package's knowledge
            (one that cannot be run by itself, a pruned one, is not seen);
            ``same-padding/no-convolution`` when the model has no convolution to take the channels from.
    """
    _require_emulated(model)
    layers = dict(same_modules(model))
    if not layers:
        return ()
    unfolded = {name: layer.__dict__.pop("folded", None) for name, layer in layers.items()}
    try:
        seen = _sizes_seen(model, layers, pair(input_size))
        plan = {name: _single_size(name, sizes) for name, sizes in seen.items() if sizes}
    except BaseException:
        for name, folded in unfolded.items():
            if folded is not None:
                layers[name].folded = folded
        raise
    return tuple(_fold(name, layer, plan.get(name)) for name, layer in layers.items())


def _fold(name: str, layer: SameModule, size: Pair | None) -> Change:
    before = repr(layer)
    if size is None:
        return Change(name, "kept", "the run did not reach it: it stays dynamic", before, before)
    pads = pads_for(*size, window_of(layer))
    layer.folded = FixedSize(name, size, pads)
    reason = f"its input is {size[0]}x{size[1]}"
    return Change(name, "native" if pads.symmetric else "constant", reason, before, repr(layer))


def _single_size(name: str, sizes: set[Pair]) -> Pair:
    if len(sizes) > 1:
        raise SamePaddingError(
            "same-padding/several-sizes",
            f"module {name!r} is called at several input sizes in one forward",
            expected="one size",
            found=", ".join(f"{height}x{width}" for height, width in sorted(sizes)),
            hint="Leave the model dynamic: such a module has no single padding",
        )
    (size,) = sizes
    return size


def _sizes_seen(model: nn.Module, layers: dict[str, SameModule], input_size: Pair) -> dict[str, set[Pair]]:
    seen: dict[str, set[Pair]] = {name: set() for name in layers}
    hooks = []
    for name, layer in layers.items():

        def record(
            _module: nn.Module, inputs: tuple[torch.Tensor, ...], named: dict[str, Any], name: str = name
        ) -> None:
            x = inputs[0] if inputs else named["input"]
            height, width = x.shape[-2:]
            seen[name].add((height, width))

        hooks.append(layer.register_forward_pre_hook(record, with_kwargs=True))
    try:
        with _inference(model):
            model(_black_image(model, input_size))
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _black_image(model: nn.Module, input_size: Pair) -> torch.Tensor:
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        raise SamePaddingError(
            "same-padding/no-convolution", "the model has no convolution to take channels from"
        )
    return first.weight.new_zeros((1, first.in_channels, *input_size))


@contextmanager
def _inference(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def _require_emulated(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if not isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) or isinstance(module, SameModule):
            continue
        if has_own_forward(module) and judge(module, forced=False).action in ("dynamic", "native"):
            raise SamePaddingError(
                "same-padding/not-emulated",
                f"module {name!r} ({type(module).__name__}) pads as SAME at run time",
                hint="Call emulate_same_padding(model) first",
            )
