"""Strided convolutions that pad one amount at every size, where PyTorch's network pads as SAME does.

Sources: `ZeroPadding2D(((0, 1), (0, 1)))` in keras.applications.mobilenet, and `correct_pad` in
keras/src/applications/imagenet_utils.py, which takes a model without a size for one of even maps. Both are
SAME on even maps, and another network on odd ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from porter.core.stored_network import Operation, StoredNetwork
from porter.tables.variants import Variant

ADJUSTMENT = "padding"  # of the finished PyTorch network, see `porter.networks.any_target.adjust`
_NONE = ((0, 0), (0, 0))
_STRIDES = (2, 2)


def pads_as_same(variant: Variant) -> bool:
    """Whether PyTorch's network pads as TensorFlow's SAME does."""
    return variant.target.arguments.get("pad_type") == "same"


def with_padding(variant: Variant, modules: Mapping[str, Any]) -> Variant:
    """Return a variant whose named modules pad fixed amounts, (top, bottom) and (left, right)."""
    return replace(variant, adjust={**variant.adjust, ADJUSTMENT: dict(modules)})


def without_padding(variant: Variant) -> Variant:
    """Return a variant as its table has it."""
    if ADJUSTMENT not in variant.adjust:
        return variant
    return replace(variant, adjust={k: v for k, v in variant.adjust.items() if k != ADJUSTMENT})


def as_pytorch_pads(form: StoredNetwork, variant: Variant) -> StoredNetwork:
    """Return a record with the padding of PyTorch's network in place of the reference's."""
    if not pads_as_same(variant):
        return form
    change = _of_even_maps if ADJUSTMENT in variant.adjust else _of_all_maps
    return form._replace(operations=tuple(map(change, form.operations)))


def fixed_amounts(operation: Operation) -> tuple[Any, ...]:
    """Return every amount that a strided convolution of a record was seen to pad; none if it says SAME."""
    padding = operation.attributes.get("padding")
    if operation.attributes.get("strides") != _STRIDES or not isinstance(padding, tuple) or _NONE in padding:
        return ()
    return padding


def _of_all_maps(operation: Operation) -> Operation:
    """Add what SAME pads on odd maps, one more, to what the reference pads on all."""
    amounts = fixed_amounts(operation)
    if len(amounts) != 1:
        return operation
    totals = [before + after + 1 for before, after in amounts[0]]
    odd = tuple((total // 2, total - total // 2) for total in totals)
    return operation._replace(attributes={**operation.attributes, "padding": (*amounts, odd)})


def _of_even_maps(operation: Operation) -> Operation:
    amounts = fixed_amounts(operation)
    if not amounts:
        return operation
    return operation._replace(attributes={**operation.attributes, "padding": (least(amounts),)})


def least(amounts: tuple[Any, ...]) -> Any:
    """Return the amounts of even maps."""
    return min(amounts, key=lambda each: sum(map(sum, each)))
