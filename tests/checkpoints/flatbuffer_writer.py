"""Writes FlatBuffers as they should be, and as they should not be."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


class Number(NamedTuple):
    """A scalar field; `form` is a letter of `struct`."""

    form: str
    value: float


class Table(NamedTuple):
    """Fields by their number: a Number, a string, bytes, an array, a Table or a list of Tables."""

    fields: Mapping[int, Any]


class Shared:
    """A value that is written once and pointed to from everywhere."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.place: int | None = None


def flatbuffer(root: Table, identifier: bytes) -> bytes:
    """Return the buffer: parents in front of what they point to, so that every offset points forward."""
    data = bytearray(b"\0\0\0\0" + identifier)
    waiting: list[tuple[int, Any]] = [(0, root)]
    shared: list[tuple[int, Shared]] = []
    while waiting:
        place, value = waiting.pop(0)
        if isinstance(value, Shared):
            shared.append((place, value))
            continue
        struct.pack_into("<I", data, place, _put(data, value, waiting) - place)
        if not waiting and shared:
            _put_shared(data, shared, waiting)
    return bytes(data)


def _put_shared(data: bytearray, shared: list[tuple[int, Shared]], waiting: list[tuple[int, Any]]) -> None:
    for place, value in shared:
        if value.place is None:
            value.place = _put(data, value.value, waiting)
        struct.pack_into("<I", data, place, value.place - place)
    shared.clear()


def _put(data: bytearray, value: Any, waiting: list[tuple[int, Any]]) -> int:
    data.extend(b"\0" * (-len(data) % 8))
    if isinstance(value, Table):
        return _table(data, value.fields, waiting)
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, list):
        start = len(data)
        data.extend(struct.pack("<I", len(value)) + b"\0\0\0\0" * len(value))
        waiting.extend((start + 4 + 4 * number, each) for number, each in enumerate(value))
        return start
    words = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else np.asarray(value)
    if words.dtype.itemsize == 8:
        data.extend(b"\0\0\0\0")
    start = len(data)
    data.extend(struct.pack("<I", words.size) + words.tobytes() + b"\0")
    return start


def _table(data: bytearray, fields: Mapping[int, Any], waiting: list[tuple[int, Any]]) -> int:
    count = max(fields, default=-1) + 1
    places, size = [0] * count, 8
    for number, value in fields.items():
        places[number] = size
        size += 8
        del value
    vtable = len(data)
    data.extend(struct.pack(f"<HH{count}H", 4 + 2 * count, size, *places))
    data.extend(b"\0" * (-len(data) % 8))
    start = len(data)
    data.extend(b"\0" * size)
    struct.pack_into("<i", data, start, start - vtable)
    for number, value in fields.items():
        if isinstance(value, Number):
            struct.pack_into("<" + value.form, data, start + places[number], value.value)
        else:
            waiting.append((start + places[number], value))
    return start
