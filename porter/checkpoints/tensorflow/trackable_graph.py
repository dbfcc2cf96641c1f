"""The TrackableObjectGraph that TensorFlow 2 stores in every object-based checkpoint.

Source of the field numbers: tensorflow/core/protobuf/trackable_object_graph.proto.
"""

from __future__ import annotations

from collections.abc import Collection

from porter.core.object_graph import Node, ObjectGraph, Slot
from porter.errors import printable
from porter.formats.malformed import Malformed
from porter.formats.protobuf import Buffer, expect_unknown, fields

GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VARIABLE = b"VARIABLE_VALUE"

# A name of a million slashes would make a million nodes; real names have a few dozen parts.
_MOST_PARTS = 200_000
_MOST_PARTS_PER_NAME = 64


def parse_graph(data: bytes, keys: Collection[str]) -> ObjectGraph:
    """Read a serialized TrackableObjectGraph.

    Args:
        data: The bytes of the string tensor ``_CHECKPOINTABLE_OBJECT_GRAPH``.
        keys: Every key of the checkpoint.

    Raises:
        Malformed: the message is damaged, an edge leads nowhere, or a variable is not in the checkpoint.
    """
    nodes = []
    references = 1
    for tag, value in fields(data):
        if tag == 0x0A:
            node = _node(value)
            nodes.append(node)
            references += len(node.children) + len(node.slots)
        else:
            expect_unknown(tag, 1, "TrackableObjectGraph")
        # Empty nodes take two bytes on disk and a hundred times that here.
        if len(nodes) > 4 * references + 1000:
            raise Malformed("graph/unreferenced-nodes", "the object graph is mostly nodes that nothing uses")
    if not nodes:
        raise Malformed("graph/empty", "the stored object graph has no root")
    for node in nodes:
        _require_references(node, len(nodes), keys)
    return ObjectGraph(nodes, stored=True)


def graph_from_names(names: Collection[str]) -> ObjectGraph:
    """Build a tree from slash-separated names.

    Raises:
        Malformed: the names have so many parts that the tree was made to exhaust memory.
    """
    if sum(name.count("/") for name in names) > _MOST_PARTS + _MOST_PARTS_PER_NAME * len(names):
        raise Malformed("graph/too-deep", "variable names have implausibly many parts")
    return ObjectGraph.from_names(names)


def _require_references(node: Node, count: int, keys: Collection[str]) -> None:
    targets = list(node.children.values())
    for slot in node.slots:
        targets += (slot.original, slot.variable)
    if targets and max(targets) >= count:
        raise Malformed(
            "graph/bad-node",
            "an edge leads to a node that does not exist",
            expected=f"below {count}",
            found=max(targets),
        )
    if node.key is not None and node.key not in keys:
        raise Malformed(
            "graph/missing-variable",
            "the object graph names a variable that is not stored",
            found=printable(node.key),
        )


def _node(data: Buffer) -> Node:
    node = Node()
    slots = []
    for tag, value in fields(data):
        if tag == 0x0A:
            number, name = _reference(value)
            if name in node.children:
                raise Malformed(
                    "graph/duplicate-child", "an object has two children of one name", found=printable(name)
                )
            node.children[name] = number
        elif tag == 0x12:
            _attribute(node, value)
        elif tag == 0x1A:
            slots.append(_slot(value))
        else:
            expect_unknown(tag, 3, "TrackableObject")
    node.slots = tuple(slots)
    return node


def _reference(data: Buffer) -> tuple[int, str]:
    number, name = 0, ""
    for tag, value in fields(data):
        if tag == 0x08:
            number = value
        elif tag == 0x12:
            name = text(value)
        else:
            expect_unknown(tag, 2, "ObjectReference")
    return number, name


def _attribute(node: Node, data: Buffer) -> None:
    name, full_name, key = b"", "", ""
    for tag, value in fields(data):
        if tag == 0x0A:
            name = bytes(value)
        elif tag == 0x12:
            full_name = text(value)
        elif tag == 0x1A:
            key = text(value)
        else:
            expect_unknown(tag, 3, "SerializedTensor")
    if name != _VARIABLE:  # a hash table's keys, a config: data of the object, and no variable
        return
    if node.key is not None:
        raise Malformed("graph/duplicate-variable", "an object holds two variables", found=printable(key))
    node.key, node.full_name = key, full_name


def _slot(data: Buffer) -> Slot:
    original = variable = 0
    name = ""
    for tag, value in fields(data):
        if tag == 0x08:
            original = value
        elif tag == 0x12:
            name = text(value)
        elif tag == 0x18:
            variable = value
        else:
            expect_unknown(tag, 3, "SlotVariableReference")
    return Slot(name, original, variable)


def text(data: Buffer) -> str:
    """Return a name as str; bytes that are not UTF-8 become surrogates, so nothing is lost."""
    return bytes(data).decode("utf-8", "surrogateescape")
