"""String tensors: varint lengths, a checksum of the lengths, then the bytes.

Source of the format: ReadStringTensor in tensorflow/core/util/tensor_bundle/tensor_bundle.cc.
"""

from __future__ import annotations

import numpy as np

from porter.core.checkpoint import Array
from porter.formats.crc32c import extend, masked
from porter.formats.files import RegularFile
from porter.formats.malformed import Malformed
from porter.formats.protobuf import read_varint
from porter.formats.region import checksum, require_checksum

_LONGEST_VARINT = 10
_CHECKSUM = 4


def read_strings(
    file: RegularFile, offset: int, size: int, count: int, crc: int, *, big_endian: bool
) -> Array:
    """Return an object array of `count` bytes objects, shape (count,), checksum verified.

    Raises:
        Malformed: lengths and stored size disagree, or a checksum does not match.
    """
    if size == 0 and count == 0:
        return np.empty(0, object)
    lengths, start, running = _lengths(file, offset, size, count, big_endian=big_endian)
    data = file.read(start, offset + size - start)
    require_checksum(extend(running, data), crc)
    strings = np.empty(count, object)
    position = 0
    for index, length in enumerate(lengths):
        strings[index] = data[position : position + length]
        position += length
    return strings


def verify_strings(
    file: RegularFile, offset: int, size: int, count: int, crc: int, *, big_endian: bool
) -> None:
    """Check the same as `read_strings` without holding the strings."""
    if size or count:
        _, start, running = _lengths(file, offset, size, count, big_endian=big_endian)
        require_checksum(checksum(file, start, offset + size - start, running), crc)


def _lengths(
    file: RegularFile, offset: int, size: int, count: int, *, big_endian: bool
) -> tuple[list[int], int, int]:
    """Return the lengths, the offset of the first string, and the checksum so far."""
    if count + _CHECKSUM > size:
        raise Malformed(
            "bundle/string-count",
            "there are more strings than bytes for them",
            expected=f"at most {max(size - _CHECKSUM, 0)}",
            found=count,
        )
    data = file.read(offset, min(size, _LONGEST_VARINT * count + _CHECKSUM))
    lengths, position = [], 0
    for _ in range(count):
        length, position = read_varint(data, position)
        lengths.append(length)
    total = position + _CHECKSUM + sum(lengths)
    if total != size:
        raise Malformed("bundle/string-lengths", "string lengths do not add up", expected=size, found=total)
    stored = data[position : position + _CHECKSUM]
    crc = extend(0, _checksummed(lengths, big_endian=big_endian))
    if masked(crc) != int.from_bytes(stored, "big" if big_endian else "little"):
        raise Malformed("bundle/bad-length-checksum", "the checksum of the string lengths does not match")
    return lengths, offset + position + _CHECKSUM, extend(crc, stored)


def _checksummed(lengths: list[int], *, big_endian: bool) -> bytes:
    """Return the lengths as words of the writing machine: 32 bits each, or 64 if they need it."""
    order = ">" if big_endian else "<"
    if max(lengths, default=0) < 1 << 32:
        return np.array(lengths, f"{order}u4").tobytes()
    return b"".join(np.array(n, f"{order}u{4 if n < 1 << 32 else 8}").tobytes() for n in lengths)
