"""The GraphDef of a TensorFlow.js graph model, written as JSON, as nodes of a graph.

Source of the mapping: protobuf's JSON format; of the fused operations: tfjs-converter/src/operations/op_list.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from porter.checkpoints.tensorflow.graph_nodes import GraphNode
from porter.checkpoints.tensorflow.node_table import MOST_NODES
from porter.checkpoints.tfjs.manifest import ManifestWeight
from porter.core.checkpoint import Array
from porter.errors import printable
from porter.formats.malformed import Malformed

_LARGEST_CONSTANT = 1 << 20
_FUSED = {
    "_FusedConv2D": "Conv2D",
    "FusedDepthwiseConv2dNative": "DepthwiseConv2dNative",
    "_FusedDepthwiseConv2dNative": "DepthwiseConv2dNative",
    "_FusedMatMul": "MatMul",
}
_WITH_INPUT = ("BiasAdd", "Prelu")
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, struct.error, binascii.Error)


class ManifestNode(GraphNode):
    """A constant whose value is in the model's binary files."""

    __slots__ = ("_weight",)

    def __init__(self, name: str, weight: ManifestWeight) -> None:
        super().__init__(name, "Const", (), ())
        self._weight = weight

    def constant(self) -> Array | None:
        """Return its value, None where it is too large to be an argument."""
        spec = self._weight.spec
        if spec.size > _LARGEST_CONSTANT or spec.dtype.storage is None:
            return None
        return self._weight.read_block((slice(None),) * len(spec.shape))


def graph_nodes(document: Any, weights: Mapping[str, ManifestWeight]) -> dict[str, GraphNode]:
    """Return the nodes of a graph by name, in order, fused operations taken apart.

    Args:
        document: The value of ``modelTopology``.
        weights: The constants in the model's binary files.

    Raises:
        Malformed: it is no graph, or lacks a constant.
    """
    listed = document.get("node")
    if not isinstance(listed, list) or not 0 < len(listed) <= MOST_NODES:
        raise Malformed("tfjs/bad-graph", "the graph has no list of nodes, or an implausibly long one")
    found: dict[str, GraphNode] = {}
    for entry in listed:
        for node in _nodes(entry, weights):
            if node.name in found:
                raise Malformed("tfjs/bad-graph", "two nodes have one name", found=printable(node.name))
            found[node.name] = node
    return found


def _nodes(entry: Any, weights: Mapping[str, ManifestWeight]) -> Iterator[GraphNode]:
    try:
        name, op, inputs = entry["name"], entry["op"], entry.get("input", [])
        if not all(isinstance(text, str) for text in (name, op, *inputs)):
            raise ValueError("a name is no text")
        attributes = entry.get("attr", {})
        taken = tuple(each for each in inputs if each[:1] != "^")
        if op == "Const" and name in weights:
            yield ManifestNode(name, weights[name])
        elif op in _FUSED:
            yield from _apart(name, op, taken, attributes)
        else:
            yield GraphNode(name, op, taken, tuple(_attribute(*pair) for pair in attributes.items()))
    except _UNREADABLE as error:
        raise Malformed("tfjs/bad-graph", f"a node of the graph is damaged ({error})") from error


def _apart(name: str, op: str, inputs: tuple[str, ...], attributes: Mapping[str, Any]) -> Iterator[GraphNode]:
    """Yield what a fused operation stands for: itself, a bias, an activation; the last has its name."""
    fused = [base64.b64decode(each).decode() for each in attributes["fused_ops"]["list"].get("s", [])]
    plain = tuple(_attribute(*pair) for pair in attributes.items())
    steps = [(_FUSED[op], inputs[:2])]
    taken = 2
    for step in fused:
        needs = step in _WITH_INPUT
        if needs and taken >= len(inputs):
            raise ValueError("a fused operation lacks an input")
        steps.append((step, inputs[taken : taken + 1] if needs else ()))
        taken += needs
    before = ""
    for number, (kind, given) in enumerate(steps):
        own = name if number == len(steps) - 1 else f"{name}/fused_{number}"
        whole = (*((before,) if before else ()), *given)
        yield GraphNode(own, kind, whole, plain if number == 0 or kind == "LeakyRelu" else ())
        before = own


def _attribute(name: str, value: Any) -> bytes:
    """Return an entry of a node's attributes as a GraphDef has it."""
    if name == "leakyrelu_alpha":
        name = "alpha"
    return _field(0x0A, name.encode()) + _field(0x12, _value(value))


def _value(value: Any) -> bytes:
    kind = next((kind for kind in _ENCODERS if kind in value), None)
    return b"" if kind is None else _ENCODERS[kind](value[kind])


def _shape(value: Any) -> bytes:
    if value.get("unknownRank"):
        return _number(0x18, 1)
    sizes = [int(each.get("size", 0)) for each in value.get("dim", ())]
    return b"".join(_field(0x12, _number(0x08, size)) for size in sizes)


def _field(tag: int, data: bytes) -> bytes:
    return bytes([tag]) + _varint(len(data)) + data


def _number(tag: int, value: int) -> bytes:
    return bytes([tag]) + _varint(value & (1 << 64) - 1)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


# By the name of the field in JSON; types and tensors tell nothing here.
_ENCODERS: Mapping[str, Callable[[Any], bytes]] = MappingProxyType(
    {
        "s": lambda value: _field(0x12, base64.b64decode(value, validate=True)),
        "i": lambda value: _number(0x18, int(value)),
        "f": lambda value: bytes([0x25]) + struct.pack("<f", float(value)),
        "b": lambda value: _number(0x28, int(bool(value))),
        "shape": lambda value: _field(0x3A, _shape(value)),
        "list": lambda value: _field(0x0A, b"".join(_number(0x18, int(n)) for n in value.get("i", ()))),
    }
)
