"""The layers of a Keras model whose graph TensorFlow 2 froze: what reads a constant tells what it was.

Freezing leaves no variable's name: a constant is called after the operation that reads it
(``conv1/Conv2D/ReadVariableOp/resource``). The operation and the position among its inputs tell the variable,
its scope the layer, and operations stand in a graph in the order in which the model's layers were called.

Source of the inputs: tensorflow/core/ops/nn_ops.cc and math_ops.cc.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Protocol

from porter.core.object_graph import Node, ObjectGraph
from porter.core.stored_network import StoredNetwork

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
# They give a variable another shape or precision alone: Keras 3 does so to what it adds or multiplies by.
_SHAPING = ("Reshape", "Squeeze", "ExpandDims", "Cast")
_ROLES = {"gamma": "gamma", "beta": "beta", "mean": "moving_mean", "variance": "moving_variance"}

_Layers = dict[str, dict[str, str]]


class GraphOperation(Protocol):
    """A node of a graph, as far as it is needed here."""

    name: str
    op: str
    inputs: list[str]


def with_layers(
    graph: ObjectGraph, operations: Sequence[GraphOperation], stored: StoredNetwork | None
) -> ObjectGraph:
    """Return an object graph whose root also has an edge ``layer_with_weights-K`` to each Keras layer.

    Nodes below the root have the same edges where the count may be another: freezing leaves nothing of a
    Normalization that stands in front, which Keras counts as a layer, and the operations of branches may
    have changed places.

    Args:
        graph: The graph of the constants' names.
        operations: The frozen graph's nodes, in order.
        stored: What the nodes compute, norms that are written out among it.
    """
    reads = _reads(operations, graph.node_of_key)
    layers = _layers(operations, reads)
    orders = [list(layers.values())]
    if stored is not None:
        layers = _with_written_norms(layers, stored)
        taken = _first_taken(operations, reads)
        depths, met = _depths(stored)
        orders = [
            sorted(layers.values(), key=partial(_rank, ranks))
            for ranks in ((taken,), (depths, met), (depths, taken))  # additions may have changed sides too
        ]
    nodes = list(graph.nodes)
    numbers: dict[str, int] = {}
    for leaves in layers.values():
        numbers[next(iter(leaves.values()))] = len(nodes)
        nodes.append(Node({leaf: graph.node_of_key[key] for leaf, key in leaves.items()}))
    for place, order in enumerate(orders):
        ordered = [numbers[next(iter(leaves.values()))] for leaves in order]
        for first in (0, 1):
            edges = {f"layer_with_weights-{first + k}": number for k, number in enumerate(ordered)}
            if place or first:
                nodes[0].children[f"layers_{place}_from_{first}"] = len(nodes)
                nodes.append(Node(edges))
            else:
                nodes[0].children.update(edges)
    return ObjectGraph(nodes, stored=graph.stored, origin=graph.origin)


def _reads(operations: Iterable[GraphOperation], variables: Container[str]) -> dict[str, str]:
    """Return the constant of each variable by the node that reads it, or passes it on."""
    reads: dict[str, str] = {}
    for operation in operations:
        if operation.op == "Identity" and _READ in operation.name and operation.inputs[0] in variables:
            reads[operation.name] = operation.inputs[0]
        elif operation.op in _SHAPING and operation.inputs and operation.inputs[0] in reads:
            reads[operation.name] = reads[operation.inputs[0]]
    return reads


def _layers(operations: Iterable[GraphOperation], reads: Mapping[str, str]) -> _Layers:
    """Return the constant of each variable, by layer in order and by the variable's name."""
    layers: _Layers = {}
    for operation in operations:
        scope = operation.name.rpartition("/")[0]
        for leaf, source in zip(_INPUTS.get(operation.op, ()), operation.inputs, strict=False):
            if leaf and source in reads:
                layers.setdefault(scope, {}).setdefault(leaf, reads[source])
    return layers


def _with_written_norms(layers: _Layers, network: StoredNetwork) -> _Layers:
    """Return the layers and the norms that several operations make up."""
    known = {key for layer in layers.values() for key in layer.values()}
    found = dict(layers)
    for number, norm in enumerate(network.operations):
        variables = {_ROLES.get(role, role): key for role, key in norm.variables.items()}
        if norm.kind == "norm" and known.isdisjoint(variables.values()):
            found[f"{norm.name}#{number}"] = variables
    return found


def _rank(ranks: Sequence[Mapping[str, int]], layer: Mapping[str, str]) -> tuple[int, ...]:
    """Return the place of a layer: that of the first of its variables."""
    return tuple(min(of.get(key, 0) for key in layer.values()) for of in ranks)


def _first_taken(operations: Iterable[GraphOperation], reads: Mapping[str, str]) -> dict[str, int]:
    """Return the place of the first operation that takes each variable."""
    places: dict[str, int] = {}
    for place, operation in enumerate(operations):
        for source in operation.inputs if operation.op != "Identity" else ():
            if source in reads:
                places.setdefault(reads[source], place)
    return places


def _depths(network: StoredNetwork) -> tuple[dict[str, int], dict[str, int]]:
    """Return what orders the variables as Keras orders layers: how much follows, and the way from the end.

    Source: `map_graph` in keras/src/ops/function.py.
    """
    operations = network.operations
    depths = [0] * len(operations)
    for number in range(len(operations) - 1, -1, -1):
        step = int(operations[number].kind != "reshape")  # no layer: broadcasting leaves it where it can
        for taken in operations[number].inputs:
            depths[taken] = max(depths[taken], depths[number] + step)
    met: dict[int, int] = {}
    waiting = list(reversed(network.outputs))
    while waiting:
        number = waiting.pop()
        if number not in met:
            met[number] = len(met)
            waiting.extend(reversed(operations[number].inputs))
    keys = [(key, n) for n in met for key in operations[n].variables.values()]
    return {key: -depths[n] for key, n in keys}, {key: met[n] for key, n in keys}
