"""The protobuf messages of a checkpoint, as far as a reader needs them.

Source of the field numbers: tensorflow/core/protobuf/tensor_bundle.proto, tensorflow/core/framework/
{tensor_shape,tensor_slice,versions}.proto.
"""

from __future__ import annotations

from porter.formats.malformed import Malformed
from porter.formats.ordered_code import FULL, Extents
from porter.formats.protobuf import Buffer, expect_unknown, fields, signed, unpack_varints

_CONSUMER_VERSION = 1
_MOST_DIMENSIONS = 32  # numpy before 2.0 holds no more
_MOST_BYTES = 1 << 62


class BundleHeader:
    """How many shards there are, and whether their words are big-endian."""

    __slots__ = ("big_endian", "shards")

    def __init__(self, shards: int, *, big_endian: bool) -> None:
        self.shards = shards
        self.big_endian = big_endian


class BundleEntry:
    """Where one tensor, or one slice of it, lies.

    Attributes:
        dtype: TensorFlow's DataType number.
        shape: Serialized TensorShapeProto; equal shapes are parsed once.
        shard: Number of the data file.
        offset: First byte in that file.
        size: Bytes.
        crc: Masked CRC-32C of these bytes.
        slices: Extents of the slices that hold the tensor; empty if it is stored whole.
    """

    __slots__ = ("crc", "dtype", "offset", "shape", "shard", "size", "slices")

    def __init__(self) -> None:
        self.dtype = self.shard = self.offset = self.size = self.crc = 0
        self.shape: Buffer = b""
        self.slices: tuple[Extents, ...] = ()


def parse_header(data: bytes) -> BundleHeader:
    """Read a BundleHeaderProto.

    Raises:
        Malformed: it is damaged, or written for readers newer than this one.
    """
    shards = endianness = 0
    for tag, value in fields(data):
        if tag == 0x08:
            shards = signed(value)
        elif tag == 0x10:
            endianness = value
        elif tag == 0x1A:
            require_readable_version(value)
        else:
            expect_unknown(tag, 3, "BundleHeaderProto")
    if not 1 <= shards < 1 << 31:
        raise Malformed("bundle/bad-shard-count", "the header counts no shards", found=shards)
    if endianness > 1:
        raise Malformed("bundle/bad-endianness", "the header names an unknown byte order", found=endianness)
    return BundleHeader(shards, big_endian=endianness == 1)


def require_readable_version(data: Buffer) -> None:
    """Read a VersionDef and refuse one that excludes readers of version 1.

    Raises:
        Malformed: the checkpoint asks for a newer reader.
    """
    for tag, value in fields(data):
        if tag == 0x10 and value > _CONSUMER_VERSION:
            raise Malformed(
                "bundle/newer-version",
                "the checkpoint was written for newer readers",
                expected=f"version {_CONSUMER_VERSION}",
                found=f"version {value}",
            )
        bad = (value,) if tag == 0x18 else unpack_varints(value).tolist() if tag == 0x1A else ()
        if _CONSUMER_VERSION in bad:
            raise Malformed("bundle/excluded-version", "the checkpoint excludes readers of this version")


def parse_entry(data: Buffer) -> BundleEntry:
    """Read a BundleEntryProto.

    Raises:
        Malformed: it is damaged.
    """
    entry = BundleEntry()
    slices = []
    for tag, value in fields(data):
        if tag == 0x08:
            entry.dtype = value
        elif tag == 0x12:
            entry.shape = value
        elif tag == 0x18:
            entry.shard = signed(value)
        elif tag == 0x20:
            entry.offset = signed(value)
        elif tag == 0x28:
            entry.size = signed(value)
        elif tag == 0x35:
            entry.crc = value
        elif tag == 0x3A:
            slices.append(parse_slice(value))
        else:
            expect_unknown(tag, 7, "BundleEntryProto")
    entry.slices = tuple(slices)
    return entry


def parse_shape(data: Buffer) -> tuple[int, ...]:
    """Read a TensorShapeProto.

    Raises:
        Malformed: a dimension is unknown or negative, or there are too many, or elements overflow.
    """
    shape: list[int] = []
    elements = 1
    for tag, value in fields(data):
        if tag == 0x18 and value:
            raise Malformed("shape/unknown-rank", "a stored tensor has no known rank")
        if tag == 0x12:
            size = _dimension(value)
            shape.append(size)
            elements *= size or 1
        elif tag != 0x18:
            expect_unknown(tag, 3, "TensorShapeProto")
        if len(shape) > _MOST_DIMENSIONS:
            raise Malformed("shape/too-many-dimensions", f"a tensor has more than {_MOST_DIMENSIONS} axes")
    if elements > _MOST_BYTES // 16:  # 16 bytes: complex128, the widest element
        raise Malformed("shape/overflow", "a tensor has more elements than memory can address", found=shape)
    return tuple(shape)


def _dimension(data: Buffer) -> int:
    size = 0
    for tag, value in fields(data):
        if tag == 0x08:
            size = signed(value)
        elif tag != 0x12:
            expect_unknown(tag, 2, "TensorShapeProto.Dim")
    if size < 0:
        raise Malformed("shape/negative-dimension", "an axis has a negative length", found=size)
    return size


def parse_slice(data: Buffer) -> Extents:
    """Read a TensorSliceProto as (start, length or FULL) per axis.

    Raises:
        Malformed: a start is negative, or a length is given and not positive.
    """
    extents = []
    for tag, value in fields(data):
        if tag == 0x0A:
            extents.append(_extent(value))
        else:
            expect_unknown(tag, 1, "TensorSliceProto")
    return tuple(extents)


def _extent(data: Buffer) -> tuple[int, int]:
    start, length = 0, FULL
    for tag, value in fields(data):
        if tag == 0x08:
            start = signed(value)
        elif tag == 0x10:
            length = signed(value)
            if length < 1:
                raise Malformed("slice/bad-length", "a slice has a length that is not positive", found=length)
        else:
            expect_unknown(tag, 2, "TensorSliceProto.Extent")
    if start < 0 or (length == FULL and start):
        raise Malformed("slice/bad-start", "a slice starts outside its tensor", found=start)
    return start, length
