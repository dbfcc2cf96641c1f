"""A GraphDef: its nodes and its library of functions, read from their bytes as they are asked for.

Source of the field numbers: tensorflow/core/framework/{graph,function,op_def}.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

from porter.checkpoints.tensorflow.graph_nodes import GraphNode, map_entry
from porter.checkpoints.tensorflow.node_table import NodeTable
from porter.checkpoints.tensorflow.trackable_graph import text
from porter.formats.protobuf import Buffer, fields


class GraphFunction:
    """One function of a graph's library.

    Attributes:
        inputs: Names of its arguments.
        results: What it returns, as its body spells it, in order.
        outputs: The names of the results.
    """

    def __init__(self, data: Buffer) -> None:
        signature: Buffer = b""
        returned: dict[str, Buffer] = {}
        self._nodes: list[Buffer] = []
        for tag, value in fields(data):
            if tag == 0x0A:
                signature = value
            elif tag == 0x1A:
                self._nodes.append(value)
            elif tag == 0x22:
                name, result = map_entry(value)
                returned[name] = result
        self.inputs = tuple(_arguments(signature, 0x12))
        self.outputs = tuple(_arguments(signature, 0x1A))
        self.results = tuple(text(returned.get(name, b"")) for name in self.outputs)

    @cached_property
    def nodes(self) -> Mapping[str, GraphNode]:
        """Its body, by name."""
        return NodeTable(self._nodes)


class Graph(NamedTuple):
    """A GraphDef: nodes by name, and the bytes of its functions by name."""

    nodes: Mapping[str, GraphNode]
    functions: Mapping[str, Buffer]


def parse_graph_def(data: Buffer) -> Graph:
    """Read a GraphDef.

    Raises:
        Malformed: it is damaged, or has two nodes or functions of one name.
    """
    functions: dict[str, Buffer] = {}
    nodes = []
    for tag, value in fields(data):
        if tag == 0x0A:
            nodes.append(value)
        elif tag == 0x12:
            functions |= parse_library(value)
    return Graph(NodeTable(nodes), functions)


def parse_library(data: Buffer) -> dict[str, Buffer]:
    """Return the bytes of each function of a FunctionDefLibrary by name.

    Raises:
        Malformed: it is damaged.
    """
    return {_function_name(each): each for tag, each in fields(data) if tag == 0x0A}


def _function_name(data: Buffer) -> str:
    signature = next((value for tag, value in fields(data) if tag == 0x0A), b"")
    return next((text(value) for tag, value in fields(signature) if tag == 0x0A), "")


def _arguments(signature: Buffer, kind: int) -> Iterator[str]:
    for tag, argument in fields(signature):
        if tag == kind:
            yield next((text(value) for inner, value in fields(argument) if inner == 0x0A), "")
