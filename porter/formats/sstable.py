"""Tables in leveldb's format (SSTables): sorted keys in checksummed, prefix-compressed blocks.

Source of the format: https://github.com/google/leveldb/blob/main/doc/table_format.md
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from porter.formats.crc32c import extend, masked
from porter.formats.files import RegularFile
from porter.formats.malformed import Malformed
from porter.formats.protobuf import read_varint
from porter.formats.snappy import decompress

FOOTER = 48
MAGIC = bytes.fromhex("57fb808b247547db")
_TRAILER = 5
_RAW, _SNAPPY = 0, 1

# Prefix compression lets a small file expand without bound: a key may repeat all of the one before it.
_BUDGET_BASE = 32 << 20
_BUDGET_PER_BYTE = 16
_COST_PER_ENTRY = 200

# TensorFlow closes a block at 256 KiB; only V1 checkpoints put tensors into one, of up to 2 GiB each.
LARGEST_BLOCK = 32 << 20
LARGEST_V1_BLOCK = (2 << 30) + LARGEST_BLOCK


class Handle(NamedTuple):
    """Where a block lies in its file, without its trailer."""

    offset: int
    size: int


class Table:
    """An open table. Blocks are read when they are needed and verified each time."""

    def __init__(self, file: RegularFile, largest_block: int = LARGEST_BLOCK) -> None:
        self.file = file
        self._largest_block = largest_block
        self._budget = _BUDGET_BASE + _BUDGET_PER_BYTE * file.size
        if file.size < FOOTER:
            raise Malformed(
                "table/too-short", "the file is shorter than a footer", expected=FOOTER, found=file.size
            )
        footer = file.read(file.size - FOOTER, FOOTER)
        if footer[-8:] != MAGIC:
            raise Malformed(
                "table/no-magic",
                "the file does not end as a TensorFlow checkpoint index does",
                hint="It is cut off, damaged, or something else.",
            )
        self._read_footer(footer)
        self._cached: tuple[int, dict[bytes, bytes]] | None = None

    def _read_footer(self, footer: bytes) -> None:
        metaindex, position = _handle(footer, 0)
        index, _ = _handle(footer, position)
        self._require_inside(metaindex)
        self._keys: list[bytes] = []
        self._handles: list[Handle] = []
        end = 0
        for key, value in self.charged(self._block(index)):
            handle, stop = _handle(value, 0)
            if stop != len(value):
                raise Malformed("table/bad-handle", "a block handle has trailing bytes")
            if handle.offset < end:
                raise Malformed("table/overlapping-blocks", "two blocks share bytes", found=handle.offset)
            self._require_inside(handle)
            end = handle.offset + handle.size + _TRAILER
            self._keys.append(key)
            self._handles.append(handle)

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield every (key, value) in key order.

        Raises:
            Malformed: a block is damaged, or keys are out of order, repeated or too long in total.
        """
        previous = None
        for last, handle in zip(self._keys, self._handles, strict=True):
            key = None
            for key, value in self.charged(self._block(handle)):
                if previous is not None and key <= previous:
                    raise _out_of_order(key, previous)
                yield key, value
                previous = key
            if key is not None and key > last:
                raise Malformed("table/key-beyond-index", "a block holds a key greater than the index says")
            previous = last

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, or None; reads one block and keeps its entries for the next call."""
        number = bisect_left(self._keys, key)
        if number == len(self._keys):
            return None
        if self._cached is None or self._cached[0] != number:
            self._cached = None  # one block at a time in memory
            self._cached = number, dict(_parse(self._block(self._handles[number])))
        return self._cached[1].get(key)

    def verify(self, key: bytes) -> None:
        """Check the checksum of the block that holds `key`."""
        number = bisect_left(self._keys, key)
        if number < len(self._keys):
            self._block(self._handles[number])

    def charged(self, block: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the entries of `block`, counting what they expand to against the table's budget."""
        for key, value in _parse(block):
            self._budget -= len(key) + len(value) + _COST_PER_ENTRY
            if self._budget < 0:
                raise Malformed(
                    "table/expansion-budget",
                    f"an index of {self.file.size} bytes expands beyond what is plausible",
                    hint="It was made to exhaust memory.",
                )
            yield key, value

    def _require_inside(self, handle: Handle) -> None:
        if handle.offset + handle.size + _TRAILER > self.file.size - FOOTER:
            raise Malformed(
                "table/block-outside-file",
                "a block lies beyond the end of the file",
                expected=f"at most {self.file.size - FOOTER} bytes",
                found=f"{handle.size} bytes at {handle.offset}",
            )

    def _block(self, handle: Handle) -> bytes:
        self._require_inside(handle)
        if handle.size > self._largest_block:
            raise Malformed(
                "table/huge-block",
                "a block is larger than TensorFlow writes",
                expected=f"at most {self._largest_block} bytes",
                found=handle.size,
            )
        stored = self.file.read(handle.offset, handle.size + _TRAILER)
        checksum = int.from_bytes(stored[-4:], "little")
        checked = np.frombuffer(stored, np.uint8, len(stored) - 4)  # no copy: V1 blocks hold whole tensors
        if masked(extend(0, checked)) != checksum:
            raise Malformed(
                "table/bad-checksum", f"the block at {handle.offset} is damaged", hint="Copy the file again."
            )
        kind = stored[-_TRAILER]
        if kind == _RAW:
            return stored[:-_TRAILER]
        if kind == _SNAPPY:
            return decompress(stored[:-_TRAILER])
        raise Malformed("table/unknown-compression", "a block is compressed in an unknown way", found=kind)


def _handle(data: bytes, position: int) -> tuple[Handle, int]:
    offset, position = read_varint(data, position)
    size, position = read_varint(data, position)
    return Handle(offset, size), position


def _out_of_order(key: bytes, previous: bytes) -> Malformed:
    if key == previous:
        return Malformed("table/duplicate-key", "a key is stored twice", found=repr(key[:80]))
    return Malformed("table/unsorted-keys", "keys are not in order", found=repr(key[:80]))


def _entries_end(block: bytes) -> int:
    """Check the restart array at the end of `block`; return where it begins."""
    count = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (count + 1)
    if len(block) < 4 or count == 0 or end < 0:
        raise Malformed("table/bad-restart-count", "a block's restart array does not fit it", found=count)
    previous = -1
    for position in range(end, len(block) - 4, 4):
        restart = int.from_bytes(block[position : position + 4], "little")
        if restart <= previous or restart > end or (previous < 0 and restart):
            raise Malformed("table/bad-restart", "a block's restart array is out of order", found=restart)
        previous = restart
    return end


def _parse(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    end = _entries_end(block)
    position, key = 0, b""
    first = True
    while position < end:
        shared, unshared, size = block[position : position + 3] if position + 3 <= end else (128, 0, 0)
        if shared | unshared | size < 0x80:
            position += 3
        else:
            shared, position = read_varint(block, position)
            unshared, position = read_varint(block, position)
            size, position = read_varint(block, position)
        middle = position + unshared
        stop = middle + size
        if stop > end:
            raise Malformed("table/entry-outside-block", "an entry reaches beyond its block")
        if shared > len(key):
            raise Malformed(
                "table/bad-shared-prefix",
                "a key repeats more than the key before it has",
                expected=f"at most {len(key)}",
                found=shared,
            )
        previous, key = key, key[:shared] + block[position:middle]
        if key <= previous and not first:
            raise _out_of_order(key, previous)
        first = False
        yield key, block[middle:stop]
        position = stop
