"""The order-preserving keys of tensor slices: 0, tensor name, rank, then start and length per axis.

Source of the format: tensorflow/core/util/saved_tensor_slice_util.cc and tsl/lib/strings/ordered_code.cc.
"""

from __future__ import annotations

Extents = tuple[tuple[int, int], ...]

FULL = -1
"""Length of an extent that covers its whole axis."""

# The length of a signed number in unary, in its leading bits: n ones, then a zero, for n bytes.
_HEADER_BITS = tuple(((1 << n) - 1) << (7 * n) for n in range(11))


def encode_slice_key(name: bytes, extents: Extents) -> bytes:
    """Return the index key of one slice of tensor `name`; extents are (start, length or FULL) per axis."""
    parts = [_encode_unsigned(0), _encode_bytes(name), _encode_unsigned(len(extents))]
    for start, length in extents:
        parts += (_encode_signed(start), _encode_signed(length))
    return b"".join(parts)


def decode_slice_key(key: bytes) -> tuple[bytes, Extents] | None:
    """Return (name, extents) of a slice key, or None if `key` is not one."""
    try:
        zero, position = _decode_unsigned(key, 0)
        name, position = _decode_bytes(key, position)
        rank, position = _decode_unsigned(key, position)
        if zero or rank > len(key):
            return None
        extents = []
        for _ in range(rank):
            start, position = _decode_signed(key, position)
            length, position = _decode_signed(key, position)
            extents.append((start, length))
    except (IndexError, ValueError):
        return None
    found = (name, tuple(extents))
    return found if encode_slice_key(*found) == key else None


def _encode_unsigned(value: int) -> bytes:
    digits = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes([len(digits)]) + digits


def _encode_bytes(value: bytes) -> bytes:
    # A byte of 00 or ff is followed by its complement, so that 00 01 can only be the terminator.
    pieces = (piece.replace(b"\x00", b"\x00\xff") for piece in value.split(b"\xff"))
    return b"\xff\x00".join(pieces) + b"\x00\x01"


def _encode_signed(value: int) -> bytes:
    magnitude = ~value if value < 0 else value
    length = magnitude.bit_length() // 7 + 1
    bits = value & ((1 << 8 * length) - 1)
    return (bits ^ _HEADER_BITS[length]).to_bytes(length, "big")


def _decode_unsigned(data: bytes, position: int) -> tuple[int, int]:
    stop = position + 1 + data[position]
    if stop > len(data):
        raise IndexError
    return int.from_bytes(data[position + 1 : stop], "big"), stop


def _decode_bytes(data: bytes, position: int) -> tuple[bytes, int]:
    found = bytearray()
    while True:
        byte = data[position]
        position += 1
        if byte not in (0x00, 0xFF):
            found.append(byte)
            continue
        complement = data[position]
        position += 1
        if (byte, complement) == (0x00, 0x01):
            return bytes(found), position
        if byte ^ complement != 0xFF:
            raise ValueError
        found.append(byte)


def _decode_signed(data: bytes, position: int) -> tuple[int, int]:
    first = data[position]
    negative = first < 0x80
    head = int.from_bytes(data[position : position + 2].ljust(2, b"\x00"), "big")
    pattern = head ^ 0xFFFF if negative else head
    length = 16 - (pattern ^ 0xFFFF).bit_length()
    length = max(length, 1)
    if length > 10 or position + length > len(data):
        raise ValueError
    bits = int.from_bytes(data[position : position + length], "big") ^ _HEADER_BITS[length]
    return bits - (1 << 8 * length) if negative else bits, position + length
