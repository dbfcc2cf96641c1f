"""The network that a Keras model computes, read from its traced graph by the reader that a port uses."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import tensorflow as tf

from porter.checkpoints.tensorflow.graph_def import parse_graph_def
from porter.checkpoints.tensorflow.graph_inlining import InlinedGraph
from porter.checkpoints.tensorflow.graph_network import network_of_graph
from porter.core.stored_network import StoredNetwork
from porter.runners.builders import Keras


def traced_network(
    model: Keras, variables: Mapping[str, Keras], shape: tuple[int | None, ...]
) -> StoredNetwork | str | None:
    """Trace a model in inference.

    Args:
        model: The model, in float32.
        variables: Its variables by the names that they get in the result.
        shape: Of the images, (N, H, W, C).

    Returns:
        What of the graph is not understood, where it is not.
    """
    traced = tf.function(partial(model, training=False)).get_concrete_function(tf.TensorSpec(shape)).graph
    names = {id(variable.handle): name for name, variable in variables.items()}
    keys = {inner.op.name: names[id(outer)] for outer, inner in traced.captures if id(outer) in names}
    graph = InlinedGraph(parse_graph_def(traced.as_graph_def().SerializeToString()))
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    return network_of_graph(graph, [output.name for output in traced.outputs], keys, shapes.get)
