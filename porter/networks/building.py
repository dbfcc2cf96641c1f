"""A definition to a PyTorch model."""

from __future__ import annotations

from functools import partial
from typing import Any

import timm
from timm.layers.create_act import get_act_layer
from timm.models import build_model_with_cfg
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def, resolve_bn_args, round_channels
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from torch import nn

from porter.errors import OutputError
from porter.networks.adjustments import ADJUSTMENTS
from porter.networks.definition import Definition

_CLASSES = {"MobileNetV3": MobileNetV3, "EfficientNet": EfficientNet}
_LAYERS = {"first_conv": "conv_stem", "classifier": "classifier"}  # of both, for timm's own tools


def build(name: str, definition: Definition, *, pretrained: bool = False, **arguments: Any) -> nn.Module:
    """Build the network that a definition describes.

    Args:
        name: What the model is called, e.g. ``"porter_mobilenetv1_050"``.
        definition: What it is made of.
        pretrained: As in `timm.create_model`; there are no weights to download, so True is refused.
        **arguments: As in `timm.create_model`, e.g. ``num_classes``, ``in_chans``, ``pad_type``, ``bn_eps``.
            They override the definition's.

    Raises:
        OutputError: timm refuses the definition, or weights were asked for.
    """
    if pretrained:
        raise OutputError(
            "network/no-pretrained",
            f"{name} has no weights to download",
            hint="port-weights makes a file of weights; pass it as checkpoint_path.",
        )
    given = {key: value for key, value in {**definition.arguments, **arguments}.items() if value is not None}
    given["pretrained_cfg_overlay"] = {"architecture": name, **given.get("pretrained_cfg_overlay", {})}
    model: nn.Module
    try:
        if definition.is_class:
            model = _from_class(name, definition, given)
        else:
            model = _from_entry(definition, given)
    except (RuntimeError, TypeError, ValueError, KeyError, AssertionError) as error:
        raise OutputError("network/not-built", f"timm cannot build {name} ({error})") from error
    for adjustment in definition.adjust:
        _adjust(name, model, adjustment)
    return model


def _adjust(name: str, model: nn.Module, adjustment: str) -> None:
    try:
        ADJUSTMENTS[adjustment](model)
    except (AttributeError, IndexError, TypeError) as error:
        raise OutputError(
            "network/adjustment", f"{name}: {adjustment!r} does not fit this network ({error})"
        ) from error


def _from_entry(definition: Definition, given: dict[str, Any]) -> nn.Module:
    epsilon = given.pop("bn_eps", None)  # an argument of some of timm's networks only, and missed in the rest
    model: nn.Module = timm.create_model(definition.base, **given)
    for module in model.modules():
        if epsilon is not None and isinstance(module, nn.BatchNorm2d):
            module.eps = epsilon
    return model


def _from_class(name: str, definition: Definition, given: dict[str, Any]) -> nn.Module:
    normalisation = partial(nn.BatchNorm2d, **resolve_bn_args(given))
    # An empty configuration rather than none: timm warns of a name that it does not know.
    given.setdefault("pretrained_cfg", {**_LAYERS})
    model: nn.Module = build_model_with_cfg(
        _CLASSES[definition.base],
        name,
        pretrained=False,
        block_args=decode_arch_def([[*blocks] for blocks in definition.arch_def]),
        round_chs_fn=_unchanged,
        norm_layer=given.pop("norm_layer", None) or normalisation,
        act_layer=get_act_layer(given.pop("act_layer", "relu")),
        se_layer=_squeeze_excite(given.pop("se_layer", {})),
        **given,
    )
    return model


def _unchanged(channels: int) -> int:
    """Take channel counts as the definition gives them."""
    return channels


def _squeeze_excite(stated: dict[str, Any]) -> Any:
    divisor = stated.get("rd_divisor")
    return partial(
        SqueezeExcite,
        gate_layer=get_act_layer(stated.get("gate_layer", "sigmoid")),
        force_act_layer=get_act_layer(stated["force_act_layer"]) if "force_act_layer" in stated else None,
        rd_round_fn=None if divisor is None else partial(round_channels, divisor=divisor),
    )
