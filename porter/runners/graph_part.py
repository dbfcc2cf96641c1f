"""The part of a frozen TensorFlow graph between one tensor, where values are fed, and others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import graph_pb2

Graph = Any  # tensorflow's GraphDef


def between(graph: Graph, start: str, ends: Sequence[str]) -> Graph:
    """Return the graph that computes `ends` from `start`, in the original's order of operations.

    What only prepares `start` is left out, so that nothing in it can keep the rest from running.

    Args:
        graph: Without variables; it is not changed.
        start: A tensor, which becomes a placeholder where it is none.
        ends: Tensors; all others are left out as far as `ends` do not need them.
    """
    first = _operation(start)
    nodes = {node.name: node for node in graph.node}
    needed = _needed(nodes, first, [_operation(end) for end in ends])
    result = graph_pb2.GraphDef(versions=graph.versions, library=graph.library)
    for node in graph.node:
        if node.name == first and node.op != "Placeholder":
            placeholder = result.node.add(name=first, op="Placeholder")
            placeholder.attr["dtype"].type = _type_taken(graph, first)
            placeholder.attr["shape"].shape.unknown_rank = True
        elif node.name in needed:
            result.node.append(node)
    return result


def _needed(nodes: dict[str, Any], first: str, ends: list[str]) -> set[str]:
    found, pending = {first}, ends
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending.extend(_inputs(nodes[name]))
    return found


def _inputs(node: Any) -> Iterator[str]:
    return (_operation(name) for name in node.input)


def _type_taken(graph: Graph, name: str) -> int:
    """Return the element type of an operation's output, as an operation that takes it says."""
    users = (node for node in graph.node if name in _inputs(node))
    types = (node.attr[word].type for node in users for word in ("T", "SrcT") if word in node.attr)
    return int(next(types, tf.float32.as_datatype_enum))


def _operation(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]
