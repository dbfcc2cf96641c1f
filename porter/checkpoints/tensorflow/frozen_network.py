"""The network in a frozen graph: constants are its weights, and the nodes that nothing takes its outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from porter.checkpoints.tensorflow.graph_def import Graph, parse_library
from porter.checkpoints.tensorflow.graph_inlining import InlinedGraph
from porter.checkpoints.tensorflow.graph_network import network_of_graph
from porter.checkpoints.tensorflow.graph_nodes import GraphNode, parse_node
from porter.checkpoints.tensorflow.trackable_graph import text
from porter.core.checkpoint import TensorSpec
from porter.core.stored_network import StoredNetwork
from porter.formats.files import RegularFile
from porter.formats.protobuf import Buffer
from porter.formats.protobuf_file import Place, places

_NODE, _LIBRARY = 0x0A, 0x12
_LARGEST_NODE, _LARGEST_LIBRARY = 1 << 16, 64 << 20
# Their outputs are no part of what the network computes.
_NO_OUTPUTS = ("Const", "NoOp", "Assert", "Placeholder", "VarHandleOp")


def frozen_network(
    file: RegularFile, specs: Mapping[str, TensorSpec], keys: Mapping[str, str]
) -> StoredNetwork | str | None:
    """Return the network of a frozen graph, or what is not understood of it; None if there is none.

    Args:
        file: The GraphDef.
        specs: Its weights, by key.
        keys: The key of each weight, by the node that gives it.

    Raises:
        Malformed: it is damaged.
    """
    nodes: dict[str, GraphNode] = {}
    library: Mapping[str, Buffer] = {}
    for tag, place, _ in places(file, Place(0, file.size)):
        if tag == _NODE:
            node = _node(file, place)
            nodes[node.name] = node
        elif tag == _LIBRARY and place.size <= _LARGEST_LIBRARY:
            library = parse_library(file.read(place.start, place.size))
    keys = {name: key for name, key in keys.items() if specs[key].shape}
    graph = InlinedGraph(Graph(nodes, library))
    return network_of_graph(graph, list(graph_ends(nodes)), keys, lambda key: specs[key].shape)


def _node(file: RegularFile, place: Place) -> GraphNode:
    """Return a node; of one that is large, a weight, the name and the operation alone."""
    if place.size <= _LARGEST_NODE:
        return parse_node(file.read(place.start, place.size))
    name = op = ""
    for tag, inner, _ in places(file, place):
        if tag == 0x0A and inner.size <= _LARGEST_NODE:
            name = text(file.read(inner.start, inner.size))
        elif tag == 0x12 and inner.size <= _LARGEST_NODE:
            op = text(file.read(inner.start, inner.size))
    return GraphNode(name, op, (), ())


def graph_ends(nodes: Mapping[str, GraphNode]) -> Iterator[str]:
    """Yield the nodes that no other node takes."""
    taken = {spelt.partition(":")[0] for node in nodes.values() for spelt in node.inputs}
    for name, node in nodes.items():
        if name not in taken and node.op not in _NO_OUTPUTS:
            yield name
