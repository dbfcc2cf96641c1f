"""Rewrites a frozen TensorFlow graph so that it computes in float64 what it computed in float32.

float64 decides a check, and a file's own network is stored in float32. Every element type of the graph
becomes float64; the weights keep their values, because float64 holds each float32 number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2, graph_pb2, node_def_pb2

from porter.runners.stored_constants import intended

Graph = Any  # tensorflow's GraphDef
_NARROW = (tf.float32.as_datatype_enum, tf.float16.as_datatype_enum, tf.bfloat16.as_datatype_enum)
_FUSED = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")


def lifted(graph: Graph) -> Graph:
    """Return the graph with float64 in the place of every narrower float; names of tensors stay.

    Fused batch normalisation, which has no float64 kernel, is written out, and so is a leaky ReLU, whose
    slope would stay a float32 number.
    """
    result = graph_pb2.GraphDef(versions=graph.versions)
    for node in graph.node:
        if node.op in _FUSED:
            result.node.extend(_batch_norm(node))
            continue
        if node.op == "LeakyRelu":
            result.node.extend(_leaky_relu(node))
            continue
        copy = result.node.add()
        copy.CopyFrom(node)
        for name, attribute in copy.attr.items():
            _widen(attribute, is_value=name == "value")
    return result


def _widen(attribute: Any, *, is_value: bool) -> None:
    if attribute.type in _NARROW:
        attribute.type = tf.float64.as_datatype_enum
    for place, number in enumerate(attribute.list.type):
        if number in _NARROW:
            attribute.list.type[place] = tf.float64.as_datatype_enum
    if is_value and attribute.tensor.dtype in _NARROW:
        values = tf.make_ndarray(attribute.tensor)
        wide = np.float64(intended(float(values))) if values.ndim == 0 else values.astype(np.float64)
        attribute.tensor.CopyFrom(tf.make_tensor_proto(wide, dtype=tf.float64, shape=values.shape))


def _batch_norm(node: Any) -> list[Any]:
    """Write fused batch normalisation out: (x - mean) * (gamma * rsqrt(variance + epsilon)) + beta."""
    x, gamma, beta, mean, variance = list(node.input)[:5]
    name = node.name
    constant = _constant(f"{name}/lifted/epsilon", node.attr["epsilon"].f)
    return [
        constant,
        _operation("AddV2", f"{name}/lifted/sum", variance, constant.name),
        _operation("Rsqrt", f"{name}/lifted/rsqrt", f"{name}/lifted/sum"),
        _operation("Mul", f"{name}/lifted/factor", f"{name}/lifted/rsqrt", gamma),
        _operation("Sub", f"{name}/lifted/centred", x, mean),
        _operation("Mul", f"{name}/lifted/scaled", f"{name}/lifted/centred", f"{name}/lifted/factor"),
        _operation("AddV2", name, f"{name}/lifted/scaled", beta),
    ]


def _leaky_relu(node: Any) -> list[Any]:
    """Write a leaky ReLU out: max(x, slope * x), or min for a slope above 1."""
    name = node.name
    slope = _constant(f"{name}/lifted/slope", node.attr["alpha"].f if "alpha" in node.attr else 0.2)
    return [
        slope,
        _operation("Mul", f"{name}/lifted/scaled", node.input[0], slope.name),
        _operation(
            "Maximum" if node.attr["alpha"].f <= 1 else "Minimum",
            name,
            node.input[0],
            f"{name}/lifted/scaled",
        ),
    ]


def _constant(name: str, stored: float) -> Any:
    node = node_def_pb2.NodeDef(name=name, op="Const")
    node.attr["dtype"].type = tf.float64.as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.float64(intended(stored))))
    return node


def _operation(op: str, name: str, *inputs: str) -> Any:
    node = node_def_pb2.NodeDef(name=name, op=op, input=inputs)
    node.attr["T"].CopyFrom(attr_value_pb2.AttrValue(type=tf.float64.as_datatype_enum))
    return node
