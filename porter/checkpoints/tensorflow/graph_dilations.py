"""Dilated convolutions, which a graph writes between SpaceToBatchND and BatchToSpaceND.

Source: `tf.nn.with_space_to_batch` of TensorFlow 2.20: a convolution of stride 1 without padding runs on maps
of every d-th pixel. SpaceToBatchND adds what SAME pads, and what fills up the last block, which
BatchToSpaceND crops again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from porter.checkpoints.tensorflow.graph_layers import Reader, read_other, small
from porter.checkpoints.tensorflow.graph_nodes import GraphNode
from porter.checkpoints.tensorflow.graph_values import Layers, Value
from porter.core.stored_network import Operation

_CONVOLUTIONS = ("conv", "depthwise_conv")
_APART = "SpaceToBatchND"
_ONE = (1, 1)


def _space_to_batch(layers: Layers, node: GraphNode, values: Sequence[Value]) -> int:
    found = read_other(layers, node, values)
    taken = layers.operations[found].inputs
    layers.channels[found] = layers.channels[taken[0]] if taken else None
    return found


def _batch_to_space(layers: Layers, node: GraphNode, values: Sequence[Value]) -> int:
    """Read what SpaceToBatchND, a convolution and this node compute as one dilated convolution."""
    inner = layers.operations[values[0]] if isinstance(values[0], int) else None
    if inner is not None and inner.kind in _CONVOLUTIONS:
        outer = layers.operations[inner.inputs[0]]
        padding = _padding(outer, inner, small(values[1]), small(values[2]))
        if padding is not None:
            dilation = tuple(small(values[1]) or ())
            attributes = {**inner.attributes, "padding": padding, "dilation": dilation}
            channels = layers.channels[values[0]]  # type: ignore[index]
            return layers.add(inner.kind, inner.name, outer.inputs, attributes, inner.variables, channels)
    return read_other(layers, node, values)


def _padding(
    outer: Operation, inner: Operation, block: list[int] | None, crops: list[list[int]] | None
) -> str | None:
    """Return "same" or "valid", whichever the dilated convolution is; None if it is neither.

    Args:
        outer: What the convolution takes.
        inner: The convolution.
        block: Rows and columns of a block of BatchToSpaceND; None if not known.
        crops: Its crops, (before, after) of both; None if not known.
    """
    is_plain = all(inner.attributes.get(name) == _ONE for name in ("strides", "dilation"))
    apart = outer.attributes.get("constants")
    if outer.attributes.get("class_name") != _APART or not isinstance(apart, list) or len(apart) != 2:
        return None
    if not is_plain or inner.attributes["padding"] != "valid" or "data_format" in inner.attributes:
        return None
    if block is None or crops is None or apart[0] != block or len(block) != 2 or apart[1] is None:
        return None
    added = np.asarray(apart[1]) - np.asarray(crops)
    extents = [(size - 1) * step for size, step in zip(inner.attributes["kernel"], block, strict=True)]  # type: ignore[call-overload]
    if added.tolist() == [[extent // 2, extent - extent // 2] for extent in extents]:
        return "same"
    return None if added.any() else "valid"


DILATIONS: Mapping[str, Reader] = MappingProxyType(
    {"SpaceToBatchND": _space_to_batch, "BatchToSpaceND": _batch_to_space}
)
