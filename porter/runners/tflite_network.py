"""The network in a TensorFlow Lite model as a TensorFlow graph.

The interpreter computes in float32, or with integers, and what decides a check is float64. So the file's
operators become TensorFlow's, with the weights dequantised; `porter.runners.tflite_interpreter` holds each of
them against what the interpreter gives for the same input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from porter.checkpoints.tflite.graph import Graph
from porter.checkpoints.tflite.operators import read_graph
from porter.checkpoints.tflite.schema import read_model
from porter.checkpoints.tflite.tflite_model import weight_values
from porter.core.checkpoint import Array
from porter.core.stored_network import REVERSED_CHANNELS, Operation, needed_numbers
from porter.errors import ParityError
from porter.formats.malformed import naming

_MAP_RANK = 4

Tensor = Any  # tensorflow's
Attributes = Mapping[str, Any]
Compute = Callable[[Attributes, list[Tensor], Mapping[str, Array]], Tensor]


def read_network(file: Path) -> tuple[bytes, Graph]:
    """Read a file's operators as they stand in it.

    Raises:
        CheckpointError: the file is damaged.
    """
    data = file.read_bytes()
    with naming(file):
        return data, read_graph(data, read_model(data))


def as_graph(file: Path, data: bytes, graph: Graph) -> Any:
    """Return the network as a GraphDef; operation N of `graph` is called ``opN`` there.

    Raises:
        ParityError: an operator has no counterpart here.
    """
    values = {
        key: weight_values(data, graph.model.tensors[weight.tensor], weight)
        for key, weight in graph.weights.items()
    }
    ends = [graph.of_tensor[number] for number in graph.model.outputs if number in graph.of_tensor]
    needed = needed_numbers(graph.operations, ends)
    with tf.Graph().as_default() as own_graph:
        found: dict[int, Tensor] = {}
        for number in needed:
            name = f"op{number}"
            operation = graph.operations[number]
            inputs = [found[place] for place in operation.inputs]
            weights = {role: values[key] for role, key in operation.variables.items()}
            if operation.kind == "input":
                found[number] = tf.compat.v1.placeholder(tf.float32, operation.attributes["shape"], name=name)
                continue
            output = _output(file, operation, inputs, weights)
            if operation.kind == "dense" and len(graph.shapes[number]) == _MAP_RANK:
                output = tf.reshape(output, graph.shapes[number])
            found[number] = tf.identity(output, name=name)
    return own_graph.as_graph_def()


def _output(file: Path, operation: Operation, inputs: list[Tensor], weights: Mapping[str, Array]) -> Tensor:
    kind, known = operation.kind, _COMPUTE
    if kind == "other":
        kind, known = str(operation.attributes["class_name"]), _NAMED
    compute = known.get(kind)
    if compute is None:
        raise ParityError(
            "runner/tflite-operator",
            "the file has an operator that is not read",
            file=file,
            found=kind,
        )
    return compute(operation.attributes, inputs, weights)


def _conv(attributes: Attributes, inputs: list[Tensor], weights: Mapping[str, Array]) -> Tensor:
    kernel, groups = weights["kernel"], attributes["groups"]
    if groups > 1 and kernel.shape[2] == 1:  # TensorFlow has no kernel for groups that runs on CPUs
        by_channel = kernel.reshape(*kernel.shape[:2], groups, -1)
        return _depthwise(attributes, inputs, {**weights, "kernel": by_channel})
    moved = [
        tf.nn.conv2d(
            images,
            tf.constant(part),
            attributes["strides"],
            attributes["padding"].upper(),
            dilations=attributes["dilation"],
        )
        for images, part in zip(tf.split(inputs[0], groups, 3), np.split(kernel, groups, 3), strict=True)
    ]
    return _shifted(tf.concat(moved, 3), weights)


def _depthwise(attributes: Attributes, inputs: list[Tensor], weights: Mapping[str, Array]) -> Tensor:
    height, width = attributes["strides"]
    moved = tf.nn.depthwise_conv2d(
        inputs[0],
        tf.constant(weights["kernel"]),
        (1, height, width, 1),
        attributes["padding"].upper(),
        dilations=attributes["dilation"],
    )
    return _shifted(moved, weights)


def _dense(_: Attributes, inputs: list[Tensor], weights: Mapping[str, Array]) -> Tensor:
    flat = tf.reshape(inputs[0], (-1, weights["kernel"].shape[0]))
    return _shifted(tf.linalg.matmul(flat, tf.constant(weights["kernel"])), weights)


def _shifted(moved: Tensor, weights: Mapping[str, Array]) -> Tensor:
    return tf.nn.bias_add(moved, tf.constant(weights["bias"])) if "bias" in weights else moved


def _pool(of: Callable[..., Tensor]) -> Compute:
    def compute(attributes: Attributes, inputs: list[Tensor], _: Mapping[str, Array]) -> Tensor:
        size, strides = attributes["size"], attributes["strides"]
        return of(inputs[0], size, strides, attributes["padding"].upper())

    return compute


def _relu(attributes: Attributes, inputs: list[Tensor], _: Mapping[str, Array]) -> Tensor:
    if attributes["max_value"] is not None:
        return tf.nn.relu6(inputs[0])
    slope = attributes["negative_slope"]
    return tf.nn.leaky_relu(inputs[0], slope) if slope else tf.nn.relu(inputs[0])


def _scale(attributes: Attributes, inputs: list[Tensor], _: Mapping[str, Array]) -> Tensor:
    scale, offset = (np.float32(attributes[name]) for name in ("scale", "offset"))
    found = inputs[0] if (scale == 1).all() else inputs[0] * tf.constant(scale)
    return found if not offset.any() else found + tf.constant(offset)


def _pad(attributes: Attributes, inputs: list[Tensor], _: Mapping[str, Array]) -> Tensor:
    amounts = [(0, 0), *attributes["amounts"], (0, 0)]
    return tf.pad(inputs[0], amounts, constant_values=attributes["value"])


def _resize(attributes: Attributes, inputs: list[Tensor], _: Mapping[str, Array]) -> Tensor:
    image = tf.compat.v1.image
    is_bilinear = attributes["interpolation"] == "bilinear"
    resized = image.resize_bilinear if is_bilinear else image.resize_nearest_neighbor
    where = {name: attributes[name] for name in ("align_corners", "half_pixel_centers")}
    return resized(inputs[0], attributes["size"], **where)


def _slice(attributes: Attributes, inputs: list[Tensor], _: Mapping[str, Array]) -> Tensor:
    names = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    masks = dict(zip(names, attributes["masks"], strict=True))
    return tf.strided_slice(inputs[0], *attributes["constants"], **masks)


def _plain(of: Callable[..., Tensor]) -> Compute:
    def compute(_: Attributes, inputs: list[Tensor], __: Mapping[str, Array]) -> Tensor:
        return of(*inputs)

    return compute


def _with_weight(of: Callable[..., Tensor]) -> Compute:
    def compute(attributes: Attributes, inputs: list[Tensor], weights: Mapping[str, Array]) -> Tensor:
        weight = tf.constant(weights["weight"])
        return of(weight, inputs[0]) if attributes["takes"] == "wi" else of(inputs[0], weight)

    return compute


def _limit(of: Callable[..., Tensor]) -> Compute:
    def compute(attributes: Attributes, inputs: list[Tensor], _: Mapping[str, Array]) -> Tensor:
        return of(inputs[0], np.float32(attributes["limit"]))

    return compute


_NAMED: Mapping[str, Compute] = {
    "Mean": lambda a, i, _: tf.reduce_mean(i[0], a["axes"], keepdims=a["keep_dims"]),
    "Max": lambda a, i, _: tf.reduce_max(i[0], a["axes"], keepdims=a["keep_dims"]),
    "Sum": lambda a, i, _: tf.reduce_sum(i[0], a["constants"][0], keepdims=a["keep_dims"]),
    "Maximum": _limit(tf.maximum),
    "Minimum": _limit(tf.minimum),
    REVERSED_CHANNELS: _plain(lambda x: tf.reverse(x, [-1])),
    "StridedSlice": _slice,
    "Transpose": lambda a, i, _: tf.transpose(i[0], a["constants"][0]),
    "Square": _plain(tf.square),
    "Neg": _plain(tf.negative),
    "Rsqrt": _plain(tf.math.rsqrt),
    "SquaredDifference": _plain(tf.math.squared_difference),
    "Mul": _with_weight(tf.multiply),
    "AddV2": _with_weight(tf.add),
    "Sub": _with_weight(tf.subtract),
}
"""Single operations of TensorFlow, by their class."""
_COMPUTE: Mapping[str, Compute] = {
    "conv": _conv,
    "depthwise_conv": _depthwise,
    "dense": _dense,
    "relu": _relu,
    "scale": _scale,
    "pad": _pad,
    "resize": _resize,
    "max_pool": _pool(tf.nn.max_pool2d),
    "avg_pool": _pool(tf.nn.avg_pool2d),
    "global_max_pool": lambda a, i, _: tf.reduce_max(i[0], (1, 2), keepdims=a["keepdims"]),
    "global_avg_pool": lambda a, i, _: tf.reduce_mean(i[0], (1, 2), keepdims=a["keepdims"]),
    "flatten": lambda _, i, __: tf.reshape(i[0], (i[0].shape[0], -1)),
    "unit_norm": lambda a, i, _: i[0] / tf.maximum(tf.norm(i[0], axis=-1, keepdims=True), a["shortest"]),
    "reshape": lambda a, i, _: tf.reshape(i[0], a["shape"]),
    "concat": lambda a, i, _: tf.concat(i, a["axis"]),
    "gelu": lambda a, i, _: tf.nn.gelu(i[0], a["approximate"]),
    "prelu": lambda _, i, w: tf.nn.relu(i[0]) - tf.constant(w["alpha"]) * tf.nn.relu(-i[0]),
    "hard_swish": _plain(lambda x: x * tf.nn.relu6(x + 3.0) * (1 / 6)),
    "sigmoid": _plain(tf.sigmoid),
    "softmax": _plain(tf.nn.softmax),
    "tanh": _plain(tf.tanh),
    "elu": _plain(tf.nn.elu),
    "maximum": _plain(tf.maximum),
    "minimum": _plain(tf.minimum),
    "add": _plain(tf.add),
    "subtract": _plain(tf.subtract),
    "multiply": _plain(tf.multiply),
    "divide": _plain(tf.divide),
}
