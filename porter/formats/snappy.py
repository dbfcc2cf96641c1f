"""Snappy's raw format, decompression only.

Source of the format: https://github.com/google/snappy/blob/main/format_description.txt
"""

from __future__ import annotations

from porter.formats.malformed import Malformed
from porter.formats.protobuf import read_varint

# The densest element is a two-byte-offset copy: three bytes that stand for sixty-four.
_MOST_OUTPUT_PER_THREE_BYTES = 64


def decompress(data: bytes) -> bytes:
    """Return the decompressed form of `data`; memory is bounded by 22 times its length.

    Raises:
        Malformed: the declared length is impossible or not met, or an element reaches outside the data.
    """
    declared, position = read_varint(data, 0)
    if declared * 3 > (len(data) - position + 2) * _MOST_OUTPUT_PER_THREE_BYTES:
        raise Malformed(
            "snappy/impossible-length",
            f"a block of {len(data)} bytes claims to decompress to {declared}",
            hint="The block is damaged.",
        )
    output = bytearray()
    end = len(data)
    while position < end:
        tag = data[position]
        position += 1
        element = _copy if tag & 3 else _literal
        position = element(data, position, tag, output)
        if len(output) > declared:
            break
    if len(output) != declared:
        raise Malformed(
            "snappy/wrong-length",
            "a block decompresses to another size",
            expected=declared,
            found=len(output),
        )
    return bytes(output)


def _literal(data: bytes, position: int, tag: int, output: bytearray) -> int:
    length = (tag >> 2) + 1
    if length > 60:
        extra = length - 60
        if position + extra > len(data):
            raise Malformed("snappy/truncated", "a compressed block ends inside an element")
        length = int.from_bytes(data[position : position + extra], "little") + 1
        position += extra
    stop = position + length
    if stop > len(data):
        raise Malformed("snappy/literal-too-long", "a literal reaches beyond its compressed block")
    output += data[position:stop]
    return stop


def _copy(data: bytes, position: int, tag: int, output: bytearray) -> int:
    kind = tag & 3
    extra = (1, 2, 4)[kind - 1]
    if position + extra > len(data):
        raise Malformed("snappy/truncated", "a compressed block ends inside an element")
    offset = int.from_bytes(data[position : position + extra], "little")
    if kind == 1:
        length = ((tag >> 2) & 7) + 4
        offset |= (tag >> 5) << 8
    else:
        length = (tag >> 2) + 1
    start = len(output) - offset
    if offset == 0 or start < 0:
        raise Malformed("snappy/bad-offset", "a copy reaches before the start of its block", found=offset)
    if offset >= length:
        output += output[start : start + length]
    else:
        pattern = output[start:]
        output += (pattern * (length // offset + 1))[:length]
    return position + extra
