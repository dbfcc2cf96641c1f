"""The layers of a Keras model whose graph TensorFlow 2 froze: what reads a constant tells what it was.

Freezing leaves no variable's name: a constant is called after the operation that reads it
(``conv1/Conv2D/ReadVariableOp/resource``). The operation and the position among its inputs tell the variable,
its scope the layer, and operations stand in a graph in the order in which the model's layers were called.

Source of the inputs: tensorflow/core/ops/nn_ops.cc and math_ops.cc.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from types import MappingProxyType
from typing import Protocol

from porter.core.object_graph import Node, ObjectGraph

_NORM = ("", "gamma", "beta", "moving_mean", "moving_variance")
# Operation to what TensorFlow's object graph calls the variables that are its inputs.
_INPUTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Conv2D": ("", "kernel"),
        "DepthwiseConv2dNative": ("", "depthwise_kernel"),
        "MatMul": ("", "kernel"),
        "BiasAdd": ("", "bias"),
        "FusedBatchNorm": _NORM,
        "FusedBatchNormV2": _NORM,
        "FusedBatchNormV3": _NORM,
    }
)
_READ = "ReadVariableOp"


class GraphOperation(Protocol):
    """A node of a graph, as far as it is needed here."""

    name: str
    op: str
    inputs: list[str]


def with_layers(graph: ObjectGraph, operations: Iterable[GraphOperation]) -> ObjectGraph:
    """Return an object graph whose root also has an edge ``layer_with_weights-K`` to each Keras layer.

    Args:
        graph: The graph of the constants' names.
        operations: The frozen graph's nodes, in order.
    """
    nodes = list(graph.nodes)
    for number, leaves in enumerate(_layers(operations, graph.node_of_key).values()):
        nodes[0].children.setdefault(f"layer_with_weights-{number}", len(nodes))
        nodes.append(Node({leaf: graph.node_of_key[key] for leaf, key in leaves.items()}))
    return ObjectGraph(nodes, stored=graph.stored, origin=graph.origin)


def _layers(operations: Iterable[GraphOperation], variables: Container[str]) -> dict[str, dict[str, str]]:
    """Return the constant of each variable, by layer in order and by the variable's name."""
    reads: dict[str, str] = {}
    layers: dict[str, dict[str, str]] = {}
    for operation in operations:
        if operation.op == "Identity" and _READ in operation.name and operation.inputs[0] in variables:
            reads[operation.name] = operation.inputs[0]
        scope = operation.name.rpartition("/")[0]
        for leaf, source in zip(_INPUTS.get(operation.op, ()), operation.inputs, strict=False):
            if leaf and source in reads:
                layers.setdefault(scope, {}).setdefault(leaf, reads[source])
    return layers
