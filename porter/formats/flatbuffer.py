"""FlatBuffers, read field by field from bytes that nobody vouches for.

Every offset is checked before it is followed. Tables and vectors may be shared, so that a small file can
stand for a very large tree: what is taken out of one buffer in all is limited too.
Source of the layout: https://flatbuffers.dev/internals (format version 2).
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from porter.formats.malformed import Malformed

_OFFSET = struct.Struct("<I")
_BACK = struct.Struct("<i")
_SHORT = struct.Struct("<H")
_LEAST = 8  # the offset of the root, and the identifier
_ALLOWANCE = 4 << 20
_LONGEST_TEXT = 1 << 16
_SCALARS = {name: struct.Struct("<" + name) for name in "?bBhHiIqQfd"}


class FlatBuffer:
    """A buffer and how much may still be taken out of it.

    Args:
        data: The whole buffer.
        identifier: The four bytes that name its schema.

    Raises:
        Malformed: it is too short, or of another schema.
    """

    def __init__(self, data: bytes, identifier: bytes) -> None:
        self.data = data
        self._left = _ALLOWANCE + len(data)
        if len(data) < _LEAST or data[4:8] != identifier:
            raise Malformed(
                "flatbuffer/identifier",
                "the buffer is of another kind",
                expected=identifier.decode("latin-1"),
                found=repr(bytes(data[4:8])),
            )

    @property
    def root(self) -> Table:
        """The outermost table."""
        return Table(self, self.offset(0))

    def spend(self, size: int) -> None:
        """Count `size` bytes that are taken out.

        Raises:
            Malformed: more is taken out than any honest buffer of this length holds.
        """
        self._left -= size
        if self._left < 0:
            raise Malformed(
                "flatbuffer/too-much",
                "the buffer repeats itself without end",
                found=f"{len(self.data)} bytes",
            )

    def require(self, start: int, size: int) -> None:
        """Refuse a run of bytes that does not lie inside the buffer.

        Raises:
            Malformed: it does not.
        """
        if start < 0 or size < 0 or start + size > len(self.data):
            raise Malformed(
                "flatbuffer/outside",
                "an offset points outside the buffer",
                expected=f"at most {len(self.data)}",
                found=f"{size} bytes at {start}",
            )

    def scalar(self, form: struct.Struct, start: int) -> Any:
        """Return one number."""
        self.require(start, form.size)
        return form.unpack_from(self.data, start)[0]

    def offset(self, start: int) -> int:
        """Return the place that the offset at `start` points to."""
        found: int = start + self.scalar(_OFFSET, start)
        self.require(found, _OFFSET.size)
        return found

    def vector(self, start: int, width: int) -> tuple[int, int]:
        """Return the first byte and the number of elements of the vector at `start`."""
        count: int = self.scalar(_OFFSET, start)
        self.require(start + _OFFSET.size, count * width)
        return start + _OFFSET.size, count


class Table:
    """A table: fields by their number in the schema, each of which may be missing.

    Args:
        buffer: Where it lies.
        start: Its first byte.

    Raises:
        Malformed: its list of fields is damaged.
    """

    __slots__ = ("_buffer", "_fields", "_size", "_start")

    def __init__(self, buffer: FlatBuffer, start: int) -> None:
        self._buffer, self._start = buffer, start
        buffer.spend(_BACK.size)
        place = start - buffer.scalar(_BACK, start)
        length = buffer.scalar(_SHORT, place)
        if length < 2 * _SHORT.size or length % _SHORT.size:
            raise Malformed("flatbuffer/fields", "a list of fields has an impossible length", found=length)
        buffer.require(place, length)
        buffer.spend(length)
        self._size = buffer.scalar(_SHORT, place + _SHORT.size)
        buffer.require(start, self._size)
        self._fields = np.frombuffer(buffer.data, "<u2", length // 2 - 2, place + 4)

    def number(self, field: int, form: str, default: Any = 0) -> Any:
        """Return a scalar field; `form` is a letter of `struct`."""
        layout = _SCALARS[form]
        start = self._field(field, layout.size)
        return default if start is None else self._buffer.scalar(layout, start)

    def table(self, field: int) -> Table | None:
        """Return a table, or None."""
        start = self._field(field, _OFFSET.size)
        return None if start is None else Table(self._buffer, self._buffer.offset(start))

    def tables(self, field: int) -> list[Table]:
        """Return a vector of tables."""
        found = self._vector(field, _OFFSET.size)
        if found is None:
            return []
        start, count = found
        self._buffer.spend(count * _OFFSET.size)
        places = range(start, start + count * _OFFSET.size, _OFFSET.size)
        return [Table(self._buffer, self._buffer.offset(place)) for place in places]

    def text(self, field: int) -> str:
        """Return a string; bytes that are no UTF-8 become the replacement character."""
        found = self._vector(field, 1)
        if found is None:
            return ""
        start, count = found
        if count > _LONGEST_TEXT:
            raise Malformed("flatbuffer/long-text", "a name is implausibly long", found=count)
        self._buffer.spend(count)
        return bytes(self._buffer.data[start : start + count]).decode("utf-8", "replace")

    def numbers(self, field: int, dtype: str) -> NDArray[Any]:
        """Return a vector of numbers."""
        form = np.dtype(dtype).newbyteorder("<")
        found = self._vector(field, form.itemsize)
        if found is None:
            return np.zeros(0, dtype)
        start, count = found
        self._buffer.spend(count * form.itemsize)
        return np.frombuffer(self._buffer.data, form, count, start).astype(dtype)

    def run(self, field: int) -> tuple[int, int]:
        """Return where a vector of bytes begins and how many there are; (0, 0) if it is missing."""
        return self._vector(field, 1) or (0, 0)

    def _vector(self, field: int, width: int) -> tuple[int, int] | None:
        start = self._field(field, _OFFSET.size)
        return None if start is None else self._buffer.vector(self._buffer.offset(start), width)

    def _field(self, field: int, size: int) -> int | None:
        place = int(self._fields[field]) if field < len(self._fields) else 0
        if place == 0:
            return None
        if place + size > self._size:
            raise Malformed("flatbuffer/field", "a field lies outside its table", found=place)
        return self._start + place
