"""The protobuf wire format in a file too large to hold: fields as places, read when they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from porter.formats.files import RegularFile
from porter.formats.malformed import Malformed
from porter.formats.protobuf import FIXED32, FIXED64, LENGTH, VARINT, read_varint

_HEAD = 20  # two varints of at most ten bytes


class Place(NamedTuple):
    """Where the contents of a field lie: first byte, and the one after the last."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stop - self.start


def places(file: RegularFile, message: Place) -> Iterator[tuple[int, Place, int]]:
    """Yield (tag, place of the contents, value of a varint or 0) of each field of `message`.

    Raises:
        Malformed: the message is cut off or uses a wire type that TensorFlow never writes.
    """
    position = message.start
    while position < message.stop:
        window = file.read(position, min(_HEAD, message.stop - position))
        tag, step = read_varint(window, 0)
        kind, value = tag & 7, 0
        if tag < 8 or tag >> 32:
            raise Malformed("wire/bad-field-number", f"a message has a field numbered {tag >> 3}")
        if kind == VARINT:
            start = position + step
            value, step = read_varint(window, step)
            found = Place(start, position + step)
        elif kind == LENGTH:
            length, step = read_varint(window, step)
            found = Place(position + step, position + step + length)
        elif kind in (FIXED32, FIXED64):
            found = Place(position + step, position + step + (4 if kind == FIXED32 else 8))
        else:
            raise Malformed(
                "wire/bad-wire-type", "a message uses a wire type that does not exist", found=kind
            )
        if found.stop > message.stop:
            raise Malformed(
                "wire/truncated-field",
                f"field {tag >> 3} is longer than its message",
                expected=f"at most {message.stop - found.start} bytes",
                found=found.size,
            )
        yield tag, found, value
        position = found.stop
