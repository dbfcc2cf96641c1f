"""Networks whose late strides became dilations, as in DeepLab, and timm's `output_stride`.

Source: `EfficientNetBuilder.__call__` of timm 1.0: the block that loses its stride keeps the dilation so far,
and those behind it take that stride as one more dilation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from porter.core.checkpoint import Checkpoint
from porter.core.stored_network import Operation, StoredNetwork
from porter.errors import PlanError
from porter.tables.variants import Network, Variant

ARGUMENT = "output_stride"
_STRIDES = (16, 8)
_ONE = (1, 1)
# Of timm's classes that take the argument, those whose late blocks have depthwise convolutions alone.
_DILATABLE = ("mobilenetv2_", "tf_efficientnet_b", "tf_efficientnet_lite")
_NOTE = (
    "the source has dilations in place of its last strides: {argument}={stride} of timm's network computes "
    "the same, and its maps are 1/{stride} of the image"
)


def has_dilations(network: StoredNetwork | None) -> bool:
    """Whether a depthwise convolution of a network is dilated."""
    operations = () if network is None else network.operations
    return any(o.kind == "depthwise_conv" and o.attributes.get("dilation", _ONE) != _ONE for o in operations)


def dilated_forms(checkpoint: Checkpoint, variant: Variant) -> Iterator[Variant]:
    """Yield a variant with each output stride that a source may have; nothing for one without dilations."""
    target = variant.target
    if (
        variant.is_own
        or not target.name.startswith(_DILATABLE)
        or not has_dilations(checkpoint.stored_network)
    ):
        return
    for stride in _STRIDES:
        yield replace(variant, target=Network(target.name, {**target.arguments, ARGUMENT: stride}))


def without_stride(variant: Variant) -> Variant:
    """Return a variant as its table has it: of its own output stride."""
    target = variant.target
    if ARGUMENT not in target.arguments:
        return variant
    arguments = {name: value for name, value in target.arguments.items() if name != ARGUMENT}
    return replace(variant, target=Network(target.name, arguments))


def note_of(variant: Variant) -> tuple[str, ...]:
    """Return what a person should know of a variant with an output stride."""
    stride = variant.target.arguments.get(ARGUMENT)
    return () if stride is None else (_NOTE.format(argument=ARGUMENT, stride=stride),)


def dilated(network: StoredNetwork, output_stride: int) -> StoredNetwork:
    """Return what a network computes with `output_stride`.

    Args:
        network: The record of one of depthwise convolutions, one to a block.
        output_stride: By how much its last maps are smaller than its images.

    Raises:
        PlanError: a stride that must go is one of no depthwise convolution.
    """
    reached, dilation = 1, 1
    operations: list[Operation] = []
    for operation in network.operations:
        if operation.kind not in ("conv", "depthwise_conv"):
            operations.append(operation)
            continue
        attributes = dict(operation.attributes)
        stride = max(attributes["strides"])  # type: ignore[call-overload]
        is_block = operation.kind == "depthwise_conv"
        if is_block:
            attributes["dilation"] = (dilation, dilation)
        if reached * stride <= output_stride:
            reached *= stride
        elif not is_block:
            raise PlanError("plan/output-stride", "a stride of a plain convolution cannot become a dilation")
        else:
            attributes |= {"strides": _ONE, "padding": "same"}
            dilation *= stride
        operations.append(operation._replace(attributes=attributes))
    return network._replace(operations=tuple(operations))
