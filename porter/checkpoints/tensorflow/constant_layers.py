"""Layers of a graph whose operations take their weights as constants: by what reads each, in order.

Optimised graphs have no reads of variables left, and often no names of layers. As in
`porter.checkpoints.tensorflow.frozen_layers` the operations and their inputs tell the layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from porter.checkpoints.tensorflow.folded_norms import FoldedNorm, WeightReader
from porter.core.object_graph import Node, ObjectGraph

_KERNELS = {"Conv2D": "kernel", "DepthwiseConv2dNative": "depthwise_kernel", "MatMul": "kernel"}
_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
_ROLES = ("gamma", "beta", "moving_mean", "moving_variance")
_SHIFTS = ("Add", "AddV2", "BiasAdd")


def constant_layers(
    nodes: Sequence[WeightReader], keys: Mapping[str, str], norms: Sequence[FoldedNorm]
) -> list[dict[str, str]]:
    """Return the variables of each layer by what Keras calls them, in the order of the graph.

    Args:
        nodes: The graph's nodes.
        keys: The key of each weight, by the node that gives it.
        norms: Norms that were folded into the layers before them.
    """
    return list(_layers(nodes, keys, {norm.kernel: norm for norm in norms}))


def _layers(
    nodes: Sequence[WeightReader], keys: Mapping[str, str], folded: Mapping[str, FoldedNorm]
) -> Iterator[dict[str, str]]:
    takers: dict[str, list[WeightReader]] = {}
    for node in nodes:
        for source in node.inputs:
            takers.setdefault(source, []).append(node)
    for node in nodes:
        if node.op in _NORMS:
            roles = zip(_ROLES, node.inputs[1:5], strict=False)
            yield {role: keys[source] for role, source in roles if source in keys}
        if node.op not in _KERNELS or len(node.inputs) < 2 or node.inputs[1] not in keys:
            continue
        layer = {_KERNELS[node.op]: keys[node.inputs[1]]}
        norm = folded.get(node.inputs[1])
        shift = _shift(node, takers, keys)
        if shift is not None and (norm is None or shift != norm.shift):
            layer["bias"] = keys[shift]
        yield layer
        if norm is not None:
            yield {role: f"{norm.scope}/{role}" for role in _ROLES}


def _shift(
    node: WeightReader, takers: Mapping[str, list[WeightReader]], keys: Mapping[str, str]
) -> str | None:
    """Return the constant that is added to what an operation gives, a factor in between aside."""
    for _ in range(2):
        following = takers.get(node.name, ())
        if len(following) != 1:
            return None
        node = following[0]
        if node.op in _SHIFTS:
            return next((source for source in node.inputs if source in keys), None)
        if node.op != "Mul":
            return None
    return None


def with_constant_layers(graph: ObjectGraph, layers: Sequence[Mapping[str, str]]) -> ObjectGraph:
    """Return an object graph whose root also has an edge ``layer_with_weights-K`` to each of `layers`."""
    nodes = list(graph.nodes)
    for number, leaves in enumerate(layers):
        nodes[0].children.setdefault(f"layer_with_weights-{number}", len(nodes))
        nodes.append(Node({leaf: graph.node_of_key[key] for leaf, key in leaves.items()}))
    return ObjectGraph(nodes, stored=graph.stored, origin=graph.origin)
