"""Nodes and constants of a GraphDef, read from its bytes as they are asked for.

Source of the field numbers: tensorflow/core/framework/{node_def,attr_value}.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from porter.checkpoints.tensorflow.messages import parse_shape
from porter.checkpoints.tensorflow.tensor_protos import parse_values
from porter.checkpoints.tensorflow.trackable_graph import text
from porter.core.checkpoint import Array
from porter.core.dtypes import BY_NUMBER
from porter.formats.protobuf import Buffer, fields, signed, unpack_varints

_LARGEST_CONSTANT = 1 << 20
_NODE_TAGS = frozenset((0x0A, 0x12, 0x1A, 0x22, 0x2A, 0x32))
_LIST, _TEXT, _INTEGER, _REAL, _FLAG, _TYPE, _SHAPE, _TENSOR, _FUNCTION = (
    0x0A,
    0x12,
    0x18,
    0x25,
    0x28,
    0x30,
    0x3A,
    0x42,
    0x52,
)
# Defaults of attributes that are not zero, no or nothing. Source: tensorflow/core/ops/*_ops.cc.
_DEFAULTS: Mapping[str, object] = MappingProxyType(
    {
        "is_training": True,
        "epsilon": 1e-4,
        "exponential_avg_factor": 1.0,
        "data_format": "NHWC",
        "dilations": (1, 1, 1, 1),
    }
)


class GraphNode:
    """One node.

    Attributes:
        name: Its name, unique in its graph or function.
        op: What it computes.
        inputs: Outputs of other nodes, as the graph spells them; without those that tell an order alone.
    """

    __slots__ = ("_attributes", "_parsed", "inputs", "name", "op")

    def __init__(self, name: str, op: str, inputs: tuple[str, ...], attributes: tuple[Buffer, ...]) -> None:
        self.name, self.op, self.inputs = name, op, inputs
        self._attributes = attributes
        self._parsed: Mapping[str, Buffer] | None = None

    @property
    def attributes(self) -> Mapping[str, Buffer]:
        """The bytes of each attribute's value by name."""
        if self._parsed is None:
            self._parsed = dict(map_entry(data) for data in self._attributes)
        return self._parsed

    def integers(self, name: str) -> tuple[int, ...]:
        """Return a list of integers; empty where there is none."""
        return _integers(self._value(name, _LIST))

    def real(self, name: str, default: float) -> float:
        """Return a number."""
        value = self._value(name, _REAL)
        return default if value is None else _shortest(struct.pack("<I", value))

    def text(self, name: str, default: str = "") -> str:
        """Return a string."""
        value = self._value(name, _TEXT)
        return default if value is None else text(value)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return a truth value."""
        value = self._value(name, _FLAG)
        return default if value is None else bool(value)

    def function(self, name: str) -> str:
        """Return the name of a function; "" where there is none."""
        value = self._value(name, _FUNCTION)
        return "" if value is None else next((text(v) for tag, v in fields(value) if tag == 0x0A), "")

    def shape(self, name: str) -> tuple[int | None, ...] | None:
        """Return a shape, None for axes of any length; None where the number of axes is not known."""
        value = self._value(name, _SHAPE)
        return None if value is None else _shape(value)

    def type_number(self, name: str) -> int:
        """Return the number of an element type; 0 where there is none."""
        value = self._value(name, _TYPE)
        return 0 if value is None else int(value)

    def constant(self) -> Array | None:
        """Return the value of a constant, None where it is too large to be an argument, or of no use here.

        Raises:
            Malformed: it is damaged.
        """
        value = self._value("value", _TENSOR)
        return None if value is None else _constant(value)

    def plain(self) -> dict[str, object]:
        """Return every attribute that is a number, text, truth value or list of integers.

        Those with their operation's default are left out: a SavedModel is written without them.
        """
        found: dict[str, object] = {}
        for name, data in self.attributes.items():
            for tag, value in fields(data) if not name.startswith("_") else ():
                if tag == _TEXT:
                    found[name] = text(value)
                elif tag == _INTEGER:
                    found[name] = signed(value)
                elif tag == _FLAG:
                    found[name] = bool(value)
                elif tag == _REAL:
                    found[name] = _shortest(struct.pack("<I", value))
                elif tag == _LIST and (numbers := _integers(value)):
                    found[name] = numbers
        return {name: value for name, value in found.items() if value != _DEFAULTS.get(name, type(value)())}

    def _value(self, name: str, kind: int) -> Any:
        data = self.attributes.get(name)
        return None if data is None else next((value for tag, value in fields(data) if tag == kind), None)


def parse_node(data: Buffer) -> GraphNode:
    """Read a NodeDef.

    Raises:
        Malformed: it is damaged.
    """
    name = op = ""
    inputs, attributes = [], []
    for tag, value in _parts(data):
        if tag == 0x0A:
            name = text(value)
        elif tag == 0x12:
            op = text(value)
        elif tag == 0x1A:
            inputs.append(text(value))
        elif tag == 0x2A:
            attributes.append(value)
    return GraphNode(name, op, tuple(each for each in inputs if each[:1] != "^"), tuple(attributes))


def _parts(data: Buffer) -> Iterable[tuple[int, Any]]:
    """Return the fields of a message that has short parts alone, as nodes have, in half the time."""
    found = []
    position, end = 0, len(data)
    while position < end - 1:
        start = position + 2
        stop = start + data[position + 1]
        if data[position] not in _NODE_TAGS or stop > end or stop - start >= 0x80:
            return fields(data)
        found.append((data[position], data[start:stop]))
        position = stop
    return found if position == end else fields(data)


def map_entry(data: Buffer) -> tuple[str, Buffer]:
    """Return key and value of one entry of a map."""
    key, value = "", b""
    for tag, found in _parts(data):
        if tag == 0x0A:
            key = text(found)
        elif tag == 0x12:
            value = found
    return key, value


def _integers(data: Any) -> tuple[int, ...]:
    if data is None:
        return ()
    found: list[int] = []
    for tag, value in fields(data):
        if tag == 0x1A:
            found += unpack_varints(value).view(np.int64).tolist()
        elif tag == 0x18:
            found.append(signed(value))
    return tuple(found)


def _shape(data: Any) -> tuple[int | None, ...] | None:
    lengths: list[int | None] = []
    for tag, value in fields(data):
        if tag == 0x18 and value:
            return None
        if tag == 0x12:
            length = next((signed(size) for inner, size in fields(value) if inner == 0x08), 0)
            lengths.append(length if length >= 0 else None)
    return tuple(lengths)


def _constant(data: Any) -> Array | None:
    number = 0
    shape: tuple[int, ...] = ()
    for tag, value in fields(data):
        if tag == 0x08:
            number = signed(value)
        elif tag == 0x12:
            shape = parse_shape(value)
    dtype, count = BY_NUMBER.get(number), int(np.prod(shape, dtype=object))
    if dtype is None or count > _LARGEST_CONSTANT or (dtype.storage is None and dtype.name != "string"):
        return None
    return parse_values(data, dtype, count, repeat=True).reshape(shape)


def _shortest(data: bytes) -> float:
    """Return a float32 as the shortest decimal that means it: 0.001, not 0.0010000000474974513."""
    return float(str(np.frombuffer(data, "<f4")[0]))
