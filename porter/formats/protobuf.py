"""The protobuf wire format, read without protobuf: varints and the fields of one message.

Source of the format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from porter.formats.malformed import Malformed

Buffer = bytes | memoryview

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


def read_varint(data: Buffer, position: int) -> tuple[int, int]:
    """Return the unsigned 64-bit varint at `position`, and the position after it.

    Raises:
        Malformed: the data ends inside it, or it does not fit 64 bits.
    """
    value = shift = 0
    for index in range(position, min(position + _LONGEST_VARINT, len(data))):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, index + 1
        shift += 7
    else:
        if len(data) - position < _LONGEST_VARINT:
            raise Malformed("wire/truncated-varint", "the data ends inside a variable-length integer")
    raise Malformed("wire/varint-too-long", "a variable-length integer does not fit 64 bits")


def signed(value: int) -> int:
    """Return the int64 whose two's complement is the unsigned `value`."""
    return value - (1 << 64) if value >> 63 else value


def fields(data: Buffer) -> Iterator[tuple[int, Any]]:
    """Yield (tag, value) of each field: tag is ``number << 3 | wire type``.

    Varints and fixed-width words come as unsigned integers, the rest as a slice of `data`.

    Raises:
        Malformed: the message is cut off or uses a wire type that TensorFlow never writes.
    """
    position, end = 0, len(data)
    while position < end:
        tag = data[position]
        if tag < 0x80:
            position += 1
        else:
            tag, position = read_varint(data, position)
        if tag < 8 or tag >> 32:
            raise Malformed("wire/bad-field-number", f"a message has a field numbered {tag >> 3}")
        kind = tag & 7
        value: Any
        if not kind & 5:  # VARINT or LENGTH
            value = data[position] if position < end else 0x80
            if value < 0x80:  # one byte nearly always: this loop is most of the time an index takes
                position += 1
            else:
                value, position = read_varint(data, position)
            if kind == LENGTH:
                stop = position + value
                if stop > end:
                    raise Malformed(
                        "wire/truncated-field",
                        f"field {tag >> 3} is longer than its message",
                        expected=f"at most {end - position} bytes",
                        found=value,
                    )
                value = data[position:stop]
                position = stop
        else:
            width = _fixed_width(kind)
            if position + width > end:
                raise Malformed("wire/truncated-fixed", f"the message ends inside field {tag >> 3}")
            value = int.from_bytes(data[position : position + width], "little")
            position += width
        yield tag, value


def _fixed_width(kind: int) -> int:
    if kind == FIXED32:
        return 4
    if kind == FIXED64:
        return 8
    raise Malformed("wire/bad-wire-type", "a message uses a wire type that does not exist", found=kind)


def expect_unknown(tag: int, highest: int, message: str) -> None:
    """Accept a field number above `highest` (a later version's); refuse a known one of another type.

    Raises:
        Malformed: the field is known, so its wire type must be wrong.
    """
    if tag >> 3 <= highest:
        raise Malformed("wire/unexpected-wire-type", f"field {tag >> 3} of {message} has wire type {tag & 7}")


def unpack_varints(data: Buffer) -> NDArray[np.uint64]:
    """Decode a packed repeated varint field.

    Returns:
        Shape (count,), uint64; signed values in two's complement.

    Raises:
        Malformed: the data ends inside a varint, or one does not fit 64 bits.
    """
    raw = np.frombuffer(data, np.uint8)
    if raw.size and raw[-1] >= 0x80:
        raise Malformed("wire/truncated-varint", "the data ends inside a variable-length integer")
    ends = np.flatnonzero(raw < 0x80)
    starts = np.concatenate([np.zeros(1, ends.dtype), ends[:-1] + 1])[: ends.size]
    lengths = ends - starts + 1
    longest = int(lengths.max(initial=0))
    tenth = raw[ends[lengths == _LONGEST_VARINT]]
    if longest > _LONGEST_VARINT or tenth.max(initial=0) > 1:
        raise Malformed("wire/varint-too-long", "a variable-length integer does not fit 64 bits")
    values = np.zeros(ends.size, np.uint64)
    for step in range(longest):
        inside = np.flatnonzero(lengths > step)
        bits = (raw[starts[inside] + step] & 0x7F).astype(np.uint64)
        values[inside] |= bits << np.uint64(7 * step)
    return values
