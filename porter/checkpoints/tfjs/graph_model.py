"""What a TensorFlow.js graph model holds: weights by the names of a graph, and the layers that it makes.

The converter folds batch norms into kernels and fuses biases and activations, so that little is left of the
layers' names. The order of operations and what reads a constant tell the layers, as in a frozen graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from porter.checkpoints.tensorflow.constant_layers import constant_layers, with_constant_layers
from porter.checkpoints.tensorflow.folded_norms import VARIANCE, folded_norms, with_norms
from porter.checkpoints.tensorflow.frozen_network import graph_ends
from porter.checkpoints.tensorflow.graph_constants import FLOAT32
from porter.checkpoints.tensorflow.graph_def import Graph
from porter.checkpoints.tensorflow.graph_inlining import InlinedGraph
from porter.checkpoints.tensorflow.graph_network import network_of_graph
from porter.checkpoints.tensorflow.input_shapes import image_size
from porter.checkpoints.tensorflow.trackable_graph import graph_from_names
from porter.checkpoints.tfjs.graph_json import graph_nodes
from porter.checkpoints.tfjs.manifest import ManifestWeight
from porter.core.checkpoint import TensorSpec
from porter.core.object_graph import ObjectGraph
from porter.core.stored_network import StoredNetwork


class GraphModel(NamedTuple):
    """A graph model.

    Attributes:
        keys: The weight that each key stands for.
        filled: What a folded norm needs and no file has: the one value of each, by key, with its shape.
        graph: Paths to the keys, by name and by layer.
        network: What the graph computes, or what of it is not understood.
        image: Height and width of its images, if they are stored.
        norms: How many norms were folded.
    """

    keys: Mapping[str, str]
    filled: Mapping[str, tuple[TensorSpec, float]]
    graph: ObjectGraph
    network: StoredNetwork | str | None
    image: tuple[int, int] | None
    norms: int


def graph_model(topology: Mapping[str, Any], weights: Mapping[str, ManifestWeight]) -> GraphModel:
    """Read a graph model.

    Raises:
        Malformed: it is damaged.
    """
    nodes = graph_nodes(topology, weights)
    shapes = {
        name: weight.spec.shape
        for name, weight in weights.items()
        if weight.spec.shape and weight.spec.dtype.is_float
    }
    norms = folded_norms(list(nodes.values()), shapes)
    norms = [norm._replace(scope=f"{norm.shift}/norm") for norm in norms]
    keys = {name: name for name in shapes}
    filled: dict[str, tuple[TensorSpec, float]] = {}
    for norm in norms:
        spec = TensorSpec(FLOAT32, shapes[norm.shift])
        values = {"gamma": 1.0, "moving_mean": 0.0, "moving_variance": VARIANCE}
        filled |= {f"{norm.scope}/{role}": (spec, value) for role, value in values.items()}
        keys[norm.shift] = f"{norm.scope}/beta"
        if norm.factor is not None:
            keys[norm.factor] = f"{norm.scope}/gamma"
            del filled[keys[norm.factor]]
    layers = constant_layers(list(nodes.values()), keys, norms)
    graph = with_constant_layers(graph_from_names([*keys.values(), *filled]), layers)
    ends = list(graph_ends(nodes))
    shape_of = {key: shapes[name] for name, key in keys.items()} | {
        k: s.shape for k, (s, _) in filled.items()
    }
    network = with_norms(network_of_graph(InlinedGraph(Graph(nodes, {})), ends, keys, shape_of.get), norms)
    inputs = [node.shape("shape") for node in nodes.values() if node.op == "Placeholder"]
    sizes = [tuple(length or -1 for length in shape) for shape in inputs if shape]
    return GraphModel(
        {key: name for name, key in keys.items()}, filled, graph, network, image_size(sizes), len(norms)
    )
