"""The order of colours turned round in a graph, in each of the ways in which programs write it.

Source of the spellings: `preprocess_input` of keras.applications in tf_keras 2.20 (``x[..., ::-1]``) and
Keras 3.15 (a stack of single channels), `tf.reverse`, `tf.gather`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from porter.checkpoints.tensorflow.graph_layers import Reader, read_other, small
from porter.checkpoints.tensorflow.graph_nodes import GraphNode
from porter.checkpoints.tensorflow.graph_values import Layers, Value, layer_name
from porter.core.stored_network import REVERSED_CHANNELS, Operation

_REVERSED = [2, 1, 0]
_LAST = (-1, 3)
# x[..., ::-1] and x[..., K] as TensorFlow's StridedSlice of begin, end and strides.
_TURNED = {"constants": [[0, 0], [0, 0], [1, -1]], "begin_mask": 2, "end_mask": 2, "ellipsis_mask": 1}
_PICKED = {"ellipsis_mask": 1, "shrink_axis_mask": 2}
_SLICED = {"class_name": "StridedSlice", "takes": "iccc"}


def _slice(layers: Layers, node: GraphNode, values: Sequence[Value]) -> int:
    found = read_other(layers, node, values)
    if dict(layers.operations[found].attributes) == {**_SLICED, **_TURNED}:
        return _reversal(layers, node, layers.operations[found].inputs[0])
    return found


def _stack(layers: Layers, node: GraphNode, values: Sequence[Value]) -> int:
    """Read a stack of the single channels 2, 1 and 0 of one image."""
    numbers = [value for value in values if isinstance(value, int)]
    taken = [layers.operations[number] for number in numbers]
    sources = {operation.inputs for operation in taken}
    is_turned = [_channel(operation) for operation in taken] == _REVERSED and len(sources) == 1
    if is_turned and len(numbers) == len(values) and node.plain().get("axis") in _LAST:
        return _reversal(layers, node, taken[0].inputs[0])
    return read_other(layers, node, values)


def _channel(operation: Operation) -> int | None:
    """Return K of ``x[..., K]``."""
    attributes = dict(operation.attributes)
    constants = attributes.pop("constants", None)
    if attributes != {**_SLICED, **_PICKED} or len(operation.inputs) != 1:
        return None
    bounds = np.asarray(constants)
    is_one = bounds.shape == (3, 2) and bounds[1, 1] == bounds[0, 1] + 1 and bounds[2, 1] == 1
    return int(bounds[0, 1]) if is_one else None


def _reverse(layers: Layers, node: GraphNode, values: Sequence[Value]) -> int:
    axes = small(values[1])
    if isinstance(values[0], int) and axes is not None and len(axes) == 1 and axes[0] in _LAST:
        return _reversal(layers, node, values[0])
    return read_other(layers, node, values)


def _gather(layers: Layers, node: GraphNode, values: Sequence[Value]) -> int:
    indices, axes = small(values[1]), small(values[2])
    is_last = axes is not None and axes[0] in _LAST
    if isinstance(values[0], int) and indices == _REVERSED and is_last:
        return _reversal(layers, node, values[0])
    return read_other(layers, node, values)


def _reversal(layers: Layers, node: GraphNode, number: int) -> int:
    attributes = {"class_name": REVERSED_CHANNELS}
    channels = layers.channels[number]
    return layers.add("other", layer_name(node.name), [number], attributes, channels=channels)


CHANNELS: Mapping[str, Reader] = MappingProxyType(
    {"StridedSlice": _slice, "Pack": _stack, "ReverseV2": _reverse, "GatherV2": _gather}
)
