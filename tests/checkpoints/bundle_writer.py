"""Writes checkpoints without TensorFlow and without the reader's code, whole or deliberately broken."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

import google_crc32c
import numpy as np

MAGIC = 0xDB4775248B80FB57
GRAPH_KEY = b"_CHECKPOINTABLE_OBJECT_GRAPH"
NUMBERS = {
    "float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int16": 5, "int8": 6, "object": 7, "complex64": 8,
    "int64": 9, "bool": 10, "uint16": 17, "complex128": 18, "float16": 19, "uint32": 22, "uint64": 23,
}  # fmt: skip


def crc(data: bytes) -> int:
    """Return the masked CRC-32C, as tables and bundles store it."""
    value = google_crc32c.value(bytes(data))
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value: int) -> bytes:
    """Encode an unsigned varint; negative numbers as 64-bit two's complement."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(index: int, value: int) -> bytes:
    """Encode a varint field."""
    return varint(index << 3) + varint(value)


def data(index: int, value: bytes) -> bytes:
    """Encode a length-delimited field."""
    return varint(index << 3 | 2) + varint(len(value)) + value


def fixed32(index: int, value: int) -> bytes:
    """Encode a fixed32 field."""
    return varint(index << 3 | 5) + struct.pack("<I", value)


# --- tables -------------------------------------------------------------------------------------------


def block(entries: list[tuple[bytes, bytes]], interval: int = 16) -> bytes:
    """Lay out one block with prefix-compressed keys."""
    out, restarts, previous = bytearray(), [], b""
    for index, (key, value) in enumerate(entries):
        shared = 0
        if index % interval == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(previous)) and key[shared] == previous[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        previous = key
    restarts = restarts or [0]
    return bytes(out) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def sealed(contents: bytes, kind: int = 0) -> bytes:
    """Append the type byte and the checksum."""
    body = contents + bytes([kind])
    return body + struct.pack("<I", crc(body))


def footer(metaindex: tuple[int, int], index: tuple[int, int]) -> bytes:
    """Return the 48 bytes at the end of a table."""
    handles = b"".join(varint(part) for handle in (metaindex, index) for part in handle)
    return handles.ljust(40, b"\0") + struct.pack("<Q", MAGIC)


def assemble(blocks: list[tuple[bytes, bytes]], index: bytes | None = None) -> bytes:
    """Join (last key, sealed block) pairs to a table; `index` replaces the contents of the index block."""
    out, handles = bytearray(), []
    for last, content in blocks:
        handles.append((last, varint(len(out)) + varint(len(content) - 5)))
        out += content
    meta = len(out), len(block([]))
    out += sealed(block([]))
    contents = block(handles, 1) if index is None else index
    position = len(out), len(contents)
    out += sealed(contents) + footer(meta, position)
    return bytes(out)


def table(entries: list[tuple[bytes, bytes]], *, snappy: bool = False, per_block: int = 64) -> bytes:
    """Write a whole table."""
    blocks = []
    for start in range(0, len(entries), per_block):
        part = entries[start : start + per_block]
        contents = block(part)
        blocks.append((part[-1][0], sealed(compress(contents), 1) if snappy else sealed(contents)))
    return assemble(blocks)


def compress(plain: bytes) -> bytes:
    """Compress by snappy's format, using literals and all three kinds of copy."""
    out, position, literal = bytearray(varint(len(plain))), 0, 0
    seen: dict[bytes, int] = {}
    while position < len(plain):
        word = plain[position : position + 4]
        found = seen.get(word)
        seen[word] = position
        if found is None or len(word) < 4:
            position += 1
            continue
        length = 4
        while (
            length < 64
            and plain[position + length : position + length + 1] == plain[found + length : found + length + 1]
        ):
            if position + length >= len(plain):
                break
            length += 1
        out += _literal(plain[literal:position]) + _copy(position - found, length)
        position += length
        literal = position
    return bytes(out + _literal(plain[literal:]))


def _literal(piece: bytes) -> bytes:
    if not piece:
        return b""
    size = len(piece) - 1
    if size < 60:
        return bytes([size << 2]) + piece
    width = (size.bit_length() + 7) // 8
    return bytes([(59 + width) << 2]) + size.to_bytes(width, "little") + piece


def _copy(offset: int, length: int) -> bytes:
    if length < 12 and offset < 2048:
        return bytes([1 | (length - 4) << 2 | offset >> 8 << 5, offset & 0xFF])
    if offset < 65536:
        return bytes([2 | (length - 1) << 2]) + struct.pack("<H", offset)
    return bytes([3 | (length - 1) << 2]) + struct.pack("<I", offset)


# --- bundles ------------------------------------------------------------------------------------------


def header(shards: int = 1, *, big_endian: bool = False, version: bytes = b"\x08\x01") -> bytes:
    """Encode a BundleHeaderProto."""
    return number(1, shards) + (number(2, 1) if big_endian else b"") + data(3, version)


def shape_proto(shape: tuple[int, ...]) -> bytes:
    """Encode a TensorShapeProto."""
    return b"".join(data(2, number(1, size) if size else b"") for size in shape)


def slice_proto(extents: tuple[tuple[int, int | None], ...]) -> bytes:
    """Encode a TensorSliceProto; a length of None covers the axis."""
    parts = []
    for start, length in extents:
        extent = (number(1, start) if start else b"") + (b"" if length is None else number(2, length))
        parts.append(data(1, extent))
    return b"".join(parts)


def slice_key(name: bytes, extents: tuple[tuple[int, int | None], ...]) -> bytes:
    """Encode the index key of a slice by OrderedCode; enough for numbers below 2**62."""
    escaped = b"".join({0: b"\0\xff", 255: b"\xff\0"}.get(byte, bytes([byte])) for byte in name)
    out = b"\0" + escaped + b"\0\1" + (bytes([1, len(extents)]) if extents else b"\0")
    for start, length in extents:
        out += _signed(start) + _signed(-1 if length is None else length)
    return out


def _signed(value: int) -> bytes:
    if -64 <= value < 64:
        return bytes([(0x80 ^ value) & 0xFF])
    size = next(n for n in range(2, 10) if -(1 << 7 * n - 1) <= value < 1 << 7 * n - 1)
    ones = (1 << size) - 1 << 7 * size
    return ((value & (1 << 8 * size) - 1) ^ ones).to_bytes(size, "big")


def entry(
    dtype: int,
    shape: tuple[int, ...] | bytes,
    place: tuple[int, int, int] = (0, 0, 0),
    checksum: int = 0,
    slices: tuple[tuple[tuple[int, int | None], ...], ...] = (),
) -> bytes:
    """Encode a BundleEntryProto; `place` is (shard, offset, size)."""
    shard, offset, size = place
    out = number(1, dtype) + data(2, shape if isinstance(shape, bytes) else shape_proto(shape))
    out += (number(3, shard) if shard else b"") + (number(4, offset) if offset else b"")
    out += (number(5, size) if size else b"") + fixed32(6, checksum)
    return out + b"".join(data(7, slice_proto(extents)) for extents in slices)


def string_bytes(strings: list[bytes], *, big_endian: bool = False) -> tuple[bytes, int]:
    """Return a string tensor's bytes in a data file, and its masked checksum."""
    order = ">" if big_endian else "<"
    lengths = b"".join(varint(len(text)) for text in strings)
    words = b"".join(struct.pack(f"{order}I", len(text)) for text in strings)
    stored = struct.pack(f"{order}I", crc(words))
    body = b"".join(strings)
    return lengths + stored + body, crc(words + stored + body)


@dataclass
class Bundle:
    """A bundle in the making: index entries and data files, free to be changed before it is stored."""

    shards: int = 1
    big_endian: bool = False
    entries: dict[bytes, bytes] = field(default_factory=dict)
    files: list[bytearray] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin with empty data files."""
        self.files = self.files or [bytearray() for _ in range(self.shards)]

    def put(self, name: str | bytes, array: np.ndarray, shard: int = 0, dtype: int | None = None) -> None:
        """Add a tensor stored whole; object arrays are strings."""
        key = name.encode() if isinstance(name, str) else name
        place, checksum = self._append(array, shard)
        code = NUMBERS[array.dtype.name] if dtype is None else dtype
        self.entries[key] = entry(code, array.shape, place, checksum)

    def put_slices(
        self,
        name: str,
        array: np.ndarray,
        slices: list[tuple[tuple[int, int | None], ...]],
        dtype: int | None = None,
    ) -> None:
        """Add a tensor in slices, one data file after the other."""
        code = NUMBERS[array.dtype.name] if dtype is None else dtype
        key = name.encode()
        self.entries[key] = entry(code, array.shape, slices=tuple(slices))
        for index, extents in enumerate(slices):
            cut = tuple(slice(a, None if n is None else a + n) for a, n in extents)
            self.put(slice_key(key, extents), np.ascontiguousarray(array[cut]), index % self.shards, code)

    def _append(self, array: np.ndarray, shard: int) -> tuple[tuple[int, int, int], int]:
        if array.dtype == object:
            stored, checksum = string_bytes(array.reshape(-1).tolist(), big_endian=self.big_endian)
        else:
            stored = array.astype(array.dtype.newbyteorder(">" if self.big_endian else "<")).tobytes()
            checksum = crc(stored)
        offset = len(self.files[shard])
        self.files[shard] += stored
        return (shard, offset, len(stored)), checksum

    @property
    def pairs(self) -> list[tuple[bytes, bytes]]:
        """Every entry of the index, the header first."""
        return [(b"", header(self.shards, big_endian=self.big_endian)), *sorted(self.entries.items())]

    def index(self, *, snappy: bool = False, per_block: int = 64) -> bytes:
        """Return the bytes of the index file."""
        return table(self.pairs, snappy=snappy, per_block=per_block)

    def store(self, prefix: Path, *, snappy: bool = False, per_block: int = 64) -> Path:
        """Write the index and the data files; return the prefix."""
        prefix.with_name(prefix.name + ".index").write_bytes(self.index(snappy=snappy, per_block=per_block))
        for shard, content in enumerate(self.files):
            prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{self.shards:05d}").write_bytes(content)
        return prefix


def graph_node(
    children: dict[str, int] | None = None,
    key: str | None = None,
    full_name: str = "",
    slots: tuple[tuple[int, str, int], ...] = (),
    extra: bytes = b"",
) -> bytes:
    """Encode one node of a TrackableObjectGraph."""
    out = b""
    for name, child in (children or {}).items():
        out += data(1, number(1, child) + data(2, name.encode()))
    if key is not None:
        out += data(2, data(1, b"VARIABLE_VALUE") + data(2, full_name.encode()) + data(3, key.encode()))
    for original, name, variable in slots:
        out += data(3, number(1, original) + data(2, name.encode()) + number(3, variable))
    return data(1, out + extra)


def string_scalar(text: bytes) -> np.ndarray:
    """Return a scalar string tensor."""
    array = np.empty((), object)
    array[()] = text
    return array


# --- V1 -----------------------------------------------------------------------------------------------


def v1_meta(name: bytes, dtype: int, shape: tuple[int, ...], slices: list[bytes]) -> bytes:
    """Encode a SavedSliceMeta as a field of SavedTensorSliceMeta."""
    inner = data(1, name) + data(2, shape_proto(shape)) + number(3, dtype)
    return data(1, inner + b"".join(data(4, part) for part in slices))


def v1_data(name: bytes, extents: tuple[tuple[int, int | None], ...], proto: bytes) -> tuple[bytes, bytes]:
    """Return (key, value) of one stored slice."""
    saved = data(1, name) + data(2, slice_proto(extents)) + data(3, proto)
    return slice_key(name, extents), data(2, saved)


def v1_entries(tensors: dict[str, np.ndarray]) -> list[tuple[bytes, bytes]]:
    """Return the sorted entries of a V1 checkpoint of float32, int32, int64 and string tensors."""
    meta, entries = b"", []
    for name, array in tensors.items():
        key, full = name.encode(), tuple((0, None) for _ in array.shape)
        meta += v1_meta(key, NUMBERS[array.dtype.name], array.shape, [slice_proto(full)])
        if array.dtype == object:
            proto = b"".join(data(8, text) for text in array.reshape(-1).tolist())
        elif array.dtype == np.float32:
            proto = data(5, array.tobytes())
        else:
            proto = data(
                7 if array.dtype == np.int32 else 10, b"".join(varint(int(v)) for v in array.reshape(-1))
            )
        entries.append(v1_data(key, full, proto))
    return [(b"", data(1, meta + data(2, number(1, 1)))), *sorted(entries)]
