"""Rewrites a frozen TensorFlow graph so that it computes in float64 what it computed in float32.

float64 decides a check, and a file's own network is stored in float32. Every element type of the graph
becomes float64; the weights keep their values, because float64 holds each float32 number.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2, graph_pb2, node_def_pb2
from tensorflow.python.framework import kernels, op_def_registry

from porter.runners.lifted_resizing import bilinear
from porter.runners.stored_constants import intended

Graph = Any  # tensorflow's GraphDef
_WIDE = tf.float64.as_datatype_enum
_NARROW = (tf.float32.as_datatype_enum, tf.float16.as_datatype_enum, tf.bfloat16.as_datatype_enum)
_FUSED = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
_USUAL_SLOPE = 0.2  # where a graph leaves the attribute out
# Keras has XLA compile each grouped convolution: 35 times slower in float64 than TensorFlow's own kernel.
_COMPILED = "_XlaMustCompile"


def lifted(graph: Graph) -> Graph:
    """Return the graph with float64 in the place of every narrower float; names of tensors stay.

    Fused batch normalisation, which has no float64 kernel, is written out; so are a leaky ReLU, whose slope
    its operation holds as float32, and bilinear resizing, which gives float32 whatever it takes. Nothing is
    left to a compiler: TensorFlow's own kernels run.
    """
    result = graph_pb2.GraphDef(versions=graph.versions)
    for node in graph.node:
        if node.op in _WRITTEN_OUT:
            result.node.extend(_WRITTEN_OUT[node.op](node))
        else:
            _add_widened(result.node, node)
    for function in graph.library.function:
        _widen_function(result.library.function.add(), function)
    return result


def _add_widened(nodes: Any, node: Any) -> None:
    copy = nodes.add()
    copy.CopyFrom(node)
    copy.attr.pop(_COMPILED, None)
    for name, attribute in copy.attr.items():
        _widen(attribute, is_value=name == "value")


def _widen_function(copy: Any, function: Any) -> None:
    copy.CopyFrom(function)
    copy.attr.pop(_COMPILED, None)
    for argument in (*copy.signature.input_arg, *copy.signature.output_arg):
        if argument.type in _NARROW:
            argument.type = _WIDE
    del copy.node_def[:]
    for node in function.node_def:
        _add_widened(copy.node_def, node)


def computed_types(graph: Graph) -> tuple[str, ...]:
    """Return the floating types that operations of a graph compute in; float32 is always among them."""
    types = {node.attr["T"].type for node in graph.node if "T" in node.attr}
    narrower = (tf.float16, tf.bfloat16)
    return ("float32", *(each.name for each in narrower if each.as_datatype_enum in types))


def without_float64(graph: Graph) -> tuple[str, ...]:
    """Return the operations of a graph that TensorFlow cannot compute in float64, by name, sorted.

    In a function, as Keras calls one for a grouped convolution, nothing is written out anew.
    """
    nodes = [node for node in graph.node if node.op not in (*_WRITTEN_OUT, "Const")]
    inside = [node for function in graph.library.function for node in function.node_def]
    known = {function.signature.name for function in graph.library.function}
    found = {node.op for node in inside if node.op in _WRITTEN_OUT}
    nodes += [node for node in inside if node.op not in (*_WRITTEN_OUT, "Const")]
    return tuple(
        sorted(found | {op for op in {node.op for node in nodes} if not _has_float64(op, nodes, known)})
    )


def _has_float64(op: str, all_nodes: Sequence[Any], functions: Collection[str]) -> bool:
    definition = op_def_registry.get(op)
    if definition is None:
        return False
    if any(argument.type in _NARROW for argument in (*definition.input_arg, *definition.output_arg)):
        return False
    nodes = [node for node in all_nodes if node.op == op]
    called = {each.func.name for node in nodes for each in node.attr.values() if each.HasField("func")}
    if not called <= set(functions):
        return False
    widened = {name for node in nodes for name, attribute in node.attr.items() if attribute.type in _NARROW}
    allowed = {each.name: each.allowed_values.list.type for each in definition.attr if each.name in widened}
    if any(types and _WIDE not in types for types in allowed.values()):
        return False
    return not widened or any(_accepts(kernel, widened) for kernel in _cpu_kernels(op))


def _cpu_kernels(op: str) -> Iterator[Any]:
    found = kernels.get_registered_kernels_for_op(op).kernel
    return (kernel for kernel in found if kernel.device_type in ("CPU", "DEFAULT"))


def _accepts(kernel: Any, widened: set[str]) -> bool:
    limits = (each for each in kernel.constraint if each.name in widened)
    return all(_WIDE in each.allowed_values.list.type for each in limits)


def _widen(attribute: Any, *, is_value: bool) -> None:
    if attribute.type in _NARROW:
        attribute.type = _WIDE
    for place, number in enumerate(attribute.list.type):
        if number in _NARROW:
            attribute.list.type[place] = _WIDE
    if is_value and attribute.tensor.dtype in _NARROW:
        values = tf.make_ndarray(attribute.tensor)
        wide = np.float64(intended(float(values))) if values.ndim == 0 else values.astype(np.float64)
        attribute.tensor.CopyFrom(tf.make_tensor_proto(wide, dtype=tf.float64, shape=values.shape))


def _batch_norm(node: Any) -> list[Any]:
    """Write fused batch normalisation out: (x - mean) * (gamma * rsqrt(variance + epsilon)) + beta.

    In training mode, as Keras has it for layer normalisation, mean and variance are those of the batch.
    """
    name, x = node.name, node.input[0]
    constant = _constant(f"{name}/lifted/epsilon", intended(node.attr["epsilon"].f))
    is_training = "is_training" not in node.attr or node.attr["is_training"].b
    is_first = node.attr["data_format"].s == b"NCHW"
    given = node.input[1:3] if is_training else node.input[1:5]
    lifting, values = _along_channels(name, given) if is_first else ([], list(given))
    if is_training:
        moments, mean, variance = _batch_moments(name, x, (0, 2, 3) if is_first else (0, 1, 2))
        lifting, values = [*lifting, *moments], [*values, mean, variance]
    gamma, beta, mean, variance = values
    return [
        *lifting,
        constant,
        wide_operation("AddV2", f"{name}/lifted/sum", variance, constant.name),
        wide_operation("Rsqrt", f"{name}/lifted/rsqrt", f"{name}/lifted/sum"),
        wide_operation("Mul", f"{name}/lifted/factor", f"{name}/lifted/rsqrt", gamma),
        wide_operation("Sub", f"{name}/lifted/centred", x, mean),
        wide_operation("Mul", f"{name}/lifted/scaled", f"{name}/lifted/centred", f"{name}/lifted/factor"),
        wide_operation("AddV2", name, f"{name}/lifted/scaled", beta),
    ]


def _along_channels(name: str, values: Sequence[str]) -> tuple[list[Any], list[str]]:
    """Return the operations that give (C,) the shape (C, 1, 1), and their names."""
    shape = integers(f"{name}/lifted/shape", (-1, 1, 1))
    shaped = [
        wide_operation("Reshape", f"{name}/lifted/shaped{n}", each, shape.name)
        for n, each in enumerate(values)
    ]
    for each in shaped:
        each.attr["Tshape"].type = tf.int32.as_datatype_enum
    return [shape, *shaped], [each.name for each in shaped]


def _batch_moments(name: str, x: str, axes: Sequence[int]) -> tuple[list[Any], str, str]:
    """Return the operations of mean and variance over a batch, and the names of both."""
    over = integers(f"{name}/lifted/axes", axes)
    mean = wide_operation("Mean", f"{name}/lifted/mean", x, over.name)
    squares = wide_operation("SquaredDifference", f"{name}/lifted/squares", x, mean.name)
    variance = wide_operation("Mean", f"{name}/lifted/variance", squares.name, over.name)
    for each in (mean, variance):
        each.attr["keep_dims"].b = True
        each.attr["Tidx"].type = tf.int32.as_datatype_enum
    return [over, mean, squares, variance], mean.name, variance.name


def integers(name: str, values: Sequence[int]) -> Any:
    """Return a constant of int32."""
    node = node_def_pb2.NodeDef(name=name, op="Const")
    node.attr["dtype"].type = tf.int32.as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.asarray(values, np.int32)))
    return node


def _leaky_relu(node: Any) -> list[Any]:
    """Write a leaky ReLU out: relu(x) - slope * relu(-x), each element one of the two."""
    (x, *_), name = node.input, node.name
    slope = _constant(
        f"{name}/lifted/slope", intended(node.attr["alpha"].f if "alpha" in node.attr else _USUAL_SLOPE)
    )
    return [
        slope,
        wide_operation("Neg", f"{name}/lifted/opposite", x),
        wide_operation("Relu", f"{name}/lifted/negative", f"{name}/lifted/opposite"),
        wide_operation("Mul", f"{name}/lifted/scaled", f"{name}/lifted/negative", slope.name),
        wide_operation("Relu", f"{name}/lifted/positive", x),
        wide_operation("Sub", name, f"{name}/lifted/positive", f"{name}/lifted/scaled"),
    ]


def _constant(name: str, value: float) -> Any:
    node = node_def_pb2.NodeDef(name=name, op="Const")
    node.attr["dtype"].type = _WIDE
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.float64(value)))
    return node


def wide_operation(op: str, name: str, *inputs: str) -> Any:
    """Return an operation that computes in float64."""
    node = node_def_pb2.NodeDef(name=name, op=op, input=inputs)
    node.attr["T"].CopyFrom(attr_value_pb2.AttrValue(type=_WIDE))
    return node


_WRITTEN_OUT: Mapping[str, Callable[[Any], list[Any]]] = {
    **dict.fromkeys(_FUSED, _batch_norm),
    "LeakyRelu": _leaky_relu,
    "ResizeBilinear": bilinear,
}
