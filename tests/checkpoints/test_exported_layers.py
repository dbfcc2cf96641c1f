"""The layers that are told from the list of variables of a Keras 3 export."""

from __future__ import annotations

from porter.checkpoints.tensorflow.keras_objects import add_layer_edges
from porter.core.checkpoint import TensorSpec
from porter.core.dtypes import BY_NAME
from porter.core.object_graph import Node

FLOATS = TensorSpec(BY_NAME["float32"], (2,))


def test_a_layer_with_variables_beside_those_of_an_inner_layer():
    """As SpectralNormalization has them: each keeps its place, none is lost."""
    names = ["stem/kernel", "normed/dense/kernel", "normed/vector_u", "normed/dense/bias"]
    listed = Node({str(number): number + 2 for number in range(len(names))})
    nodes = [Node({"variables": 1, "_all_variables": 1}), listed]
    nodes += [Node(key=f"key {name}", full_name=name) for name in names]

    add_layer_edges(nodes, {f"key {name}": FLOATS for name in names})

    nested = nodes[nodes[0].children["nested"]]
    normed = nodes[nested.children["layer_with_weights-1"]]
    inner = nodes[normed.children["layer_with_weights-0"]]
    assert nodes[normed.children["vector_u"]].key == "key normed/vector_u"
    assert {leaf: nodes[number].key for leaf, number in inner.children.items()} == {
        "kernel": "key normed/dense/kernel",
        "bias": "key normed/dense/bias",
    }
