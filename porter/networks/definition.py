"""A network's definition, as a table or a ported file holds it: checked without torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from porter.errors import OutputError

# The words of `base` that mean a class of timm, and what its arguments may be. Every other base is the name
# of an entry point, whose arguments timm knows itself.
_SHARED: Mapping[str, type] = {
    "stem_size": int,
    "fix_stem": bool,
    "num_features": int,
    "pad_type": str,
    "act_layer": str,
    "se_layer": dict,
    "bn_eps": float,
}
CLASSES: Mapping[str, Mapping[str, type]] = {
    "MobileNetV3": {
        **_SHARED,
        "head_bias": bool,
        "head_norm": bool,
        "se_from_exp": bool,
        "layer_scale_init_value": float,
    },
    "EfficientNet": {**_SHARED, "stem_kernel_size": int},
}
_SE_LAYER: Mapping[str, type] = {"gate_layer": str, "force_act_layer": str, "rd_divisor": int}

# What `porter.networks.adjustments` has a function for.
ADJUSTMENTS = (
    "average_without_padding",
    "biases_without_norm",
    "linear_classifier",
    "linear_first_block",
    "relu_in_squeeze_excite",
    "same_max_pool",
    "same_padding",
    "same_pool_in_first_shortcut",
    "stem_as_wide_as_blocks",
    "stride_in_first_convolution",
    "stride_in_last_block",
)

_ENTRY_POINT = re.compile(r"[a-z][a-z0-9_]*")
_BLOCK = re.compile(r"[a-z]+_r\d+(_[a-z]+[a-z0-9.]*)*")


@dataclass(frozen=True, slots=True)
class Definition:
    """How a network is built from what timm has.

    Attributes:
        base: ``"MobileNetV3"`` or ``"EfficientNet"``, a class of timm; else the name of an entry point.
        arch_def: For a class: per stage its blocks in timm's notation, e.g. ``"ir_r2_k3_s2_e6_c24"``. Channel
            counts are final: nothing is multiplied, and only what timm expands inside a block is rounded.
        arguments: Arguments of the class or of the entry point.
        adjust: Names of changes made to the finished model, in order.
    """

    base: str
    arch_def: tuple[tuple[str, ...], ...]
    arguments: Mapping[str, Any]
    adjust: tuple[str, ...]

    @property
    def is_class(self) -> bool:
        """Whether `base` is a class of timm rather than an entry point."""
        return self.base in CLASSES


def parse(stated: Mapping[str, Any]) -> Definition:
    """Read a definition.

    Args:
        stated: ``base``, and as needed ``arch_def``, ``arguments`` and ``adjust``, as in TOML or JSON.

    Raises:
        OutputError: ``network/...``: it is malformed, or names something unknown.
    """
    _refuse_unknown("network", stated, ("base", "arch_def", "arguments", "adjust"))
    base = _typed(stated, "base", str, "network")
    definition = Definition(
        base=base,
        arch_def=_arch_def(stated.get("arch_def", ())),
        arguments=dict(_typed(stated, "arguments", dict, "network") if "arguments" in stated else {}),
        adjust=tuple(_typed(stated, "adjust", list, "network") if "adjust" in stated else ()),
    )
    if definition.is_class != bool(definition.arch_def):
        rule = f"{base} needs an arch_def" if definition.is_class else f"{base!r} takes no arch_def"
        raise OutputError("network/arch-def", rule, expected=f"arch_def with {' or '.join(CLASSES)} only")
    if not definition.is_class and not _ENTRY_POINT.fullmatch(base):
        raise OutputError(
            "network/base",
            f"{base!r} names no network",
            expected=f"{', '.join(CLASSES)} or the name of a timm model",
        )
    _check_arguments(definition)
    for name in definition.adjust:
        if name not in ADJUSTMENTS:
            raise OutputError(
                "network/adjustment", f"unknown adjustment {name!r}", expected=f"one of {[*ADJUSTMENTS]}"
            )
    return definition


def _check_arguments(definition: Definition) -> None:
    if not definition.is_class:
        return
    known = CLASSES[definition.base]
    where = f"arguments of {definition.base}"
    _refuse_unknown(where, definition.arguments, known)
    for name in definition.arguments:
        _typed(definition.arguments, name, known[name], where)
    gate = definition.arguments.get("se_layer", {})
    _refuse_unknown("se_layer", gate, _SE_LAYER)
    for name in gate:
        _typed(gate, name, _SE_LAYER[name], "se_layer")


def _arch_def(stages: object) -> tuple[tuple[str, ...], ...]:
    if not isinstance(stages, list | tuple) or not all(isinstance(blocks, list | tuple) for blocks in stages):
        raise OutputError("network/arch-def", "arch_def", expected="a list of stages, each a list of blocks")
    for block in (block for blocks in stages for block in blocks):
        if not isinstance(block, str) or not _BLOCK.fullmatch(block):
            raise OutputError("network/arch-def", f"block {block!r}", expected="e.g. 'ir_r2_k3_s2_e6_c24'")
    return tuple(tuple(blocks) for blocks in stages)


def _refuse_unknown(where: str, given: Mapping[str, Any], known: Mapping[str, Any] | Sequence[str]) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise OutputError("network/unknown-key", f"{where}: {unknown[0]!r}", expected=f"one of {[*known]}")


def _typed(values: Mapping[str, Any], name: str, wanted: type, where: str) -> Any:
    value = values.get(name)
    if wanted is float and type(value) is int:
        return float(value)
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise OutputError("network/type", f"{where}: {name}", expected=wanted.__name__, found=repr(value))
    return value
