"""Layers that a graph writes out in several operations, joined again: dilated convolutions and PReLU.

Source: `tf.nn.convolution` with dilations, which puts a convolution between SpaceToBatchND and
BatchToSpaceND; ``relu(x) - alpha * relu(-x)`` of PReLU in Keras 3.15 and tf_keras 2.20.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from porter.runners.joined_gates import count_takers

if TYPE_CHECKING:
    from porter.runners.graph_operations import SourceOperation

_CONVOLUTIONS = ("conv", "depthwise_conv")
_PLAIN: Mapping[str, Any] = {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}


def join_layers(found: list[SourceOperation]) -> None:
    """Turn each such layer into one operation, in place: its last one, the others are merged."""
    takers = count_takers(found)
    for end in range(len(found)):
        _join_dilated(found, takers, end)
        _join_prelu(found, takers, end)


def _join_dilated(found: Sequence[SourceOperation], takers: Sequence[int], end: int) -> None:
    if not _is(found[end], "BatchToSpaceND"):
        return
    middle = found[end].inputs[0]
    layer = found[middle]
    first = layer.inputs[0] if layer.inputs else middle
    if layer.kind not in _CONVOLUTIONS or not _is(found[first], "SpaceToBatchND"):
        return
    constants = found[first].attributes.get("constants") or [None]
    if takers[middle] != 1 or takers[first] != 1 or constants[0] is None:
        return
    pads = constants[1] if len(constants) > 1 else None
    padding = "valid" if pads is not None and not any(map(any, pads)) else "same"
    last = found[end]
    last.kind, last.inputs, last.variables = layer.kind, list(found[first].inputs), layer.variables
    last.attributes = {**layer.attributes, "dilation": tuple(constants[0]), "padding": padding}
    _merge(found[middle], found[first])


def _join_prelu(found: Sequence[SourceOperation], takers: Sequence[int], end: int) -> None:
    if found[end].kind != "add" or len(found[end].inputs) != 2:
        return
    for above, scaled in (found[end].inputs, found[end].inputs[::-1]):
        slope = found[scaled]
        if (
            not _is(slope, "Mul")
            or slope.attributes.get("weights") != ["Neg(v)"]
            or len(slope.variables) != 1
        ):
            continue
        below = slope.inputs[0]
        turned = found[below].inputs[0] if found[below].inputs else below
        taken = found[above].inputs
        parts = (above, scaled, below, turned)
        if not (_is_relu(found[above]) and _is_relu(found[below]) and _is(found[turned], "Neg")):
            continue
        if found[turned].inputs == taken and all(takers[number] == 1 for number in parts):
            last = found[end]
            last.kind, last.inputs, last.attributes = "prelu", list(taken), {}
            last.variables = {"alpha": next(iter(slope.variables.values()))}
            _merge(*(found[number] for number in parts))
            return


def _merge(*parts: SourceOperation) -> None:
    for operation in parts:
        operation.merged, operation.variables = True, {}


def _is(operation: SourceOperation, name: str) -> bool:
    return operation.kind == "other" and operation.attributes.get("class_name") == name


def _is_relu(operation: SourceOperation) -> bool:
    return operation.kind == "relu" and {name: operation.attributes.get(name) for name in _PLAIN} == _PLAIN
