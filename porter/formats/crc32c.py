"""CRC-32C (Castagnoli), by google-crc32c's C part or, if that is missing, by numpy."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from porter.core.checkpoint import Array

Words = NDArray[np.uint32]

_POLYNOMIAL = 0x82F63B78  # reversed representation, RFC 3720 appendix B.4
_MASK_DELTA = 0xA282EAD8  # leveldb's and TensorFlow's masking of stored checksums
_LANES = 4096


def masked(crc: int) -> int:
    """Return `crc` as it is stored: rotated right by 15 bits, plus a constant (leveldb's crc32c::Mask)."""
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def extend_in_numpy(crc: int, data: bytes | Array) -> int:
    """Return the CRC-32C of everything before, whose checksum is `crc`, followed by `data`.

    The bulk is cut into 4,096 equal lanes that advance together, one 32-bit word per step. The lanes'
    results are then joined pairwise: the checksum is linear, so a lane followed by n bytes is the lane's
    state advanced over n zero bytes, xor the state of those bytes.
    """
    raw = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data.reshape(-1).view(np.uint8)
    state = crc ^ 0xFFFFFFFF
    steps = raw.size // (4 * _LANES)
    bulk = steps * 4 * _LANES
    if steps:
        lanes = raw[:bulk].view("<u4").reshape(_LANES, steps)
        states = np.zeros(_LANES, np.uint32)
        states[0] = state
        for step in range(steps):
            states = _over_one_word(states ^ lanes[:, step])
        state = _joined(states, 4 * steps)
    table = _byte_table().tolist()
    for byte in raw[bulk:].tolist():
        state = table[(state ^ byte) & 0xFF] ^ (state >> 8)
    return int(state ^ 0xFFFFFFFF)


@lru_cache(maxsize=1)
def _byte_table() -> Words:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1).astype(np.uint32)
    return table


@lru_cache(maxsize=1)
def _word_tables() -> tuple[Words, Words]:
    low: Words = np.arange(65536, dtype=np.uint32)
    high: Words = np.left_shift(low, np.uint32(16))
    table = _byte_table()
    for _ in range(4):
        low = table[low & 0xFF] ^ (low >> 8)
        high = table[high & 0xFF] ^ (high >> 8)
    return low, high


def _over_one_word(states: Words) -> Words:
    low, high = _word_tables()
    advanced: Words = low[states & 0xFFFF] ^ high[states >> 16]
    return advanced


def _joined(states: Words, length: int) -> int:
    columns = _zero_bytes_operator(length)
    while states.size > 1:
        states = _apply(columns, states[0::2]) ^ states[1::2]
        columns = _apply(columns, columns)
    return int(states[0])


def _zero_bytes_operator(length: int) -> Words:
    """Return the 32 columns over GF(2) of "advance the state over `length` zero bytes"."""
    power = np.left_shift(np.uint32(1), np.arange(32, dtype=np.uint32))
    result = power
    table = _byte_table()
    power = table[power & 0xFF] ^ (power >> 8)
    while length:
        if length & 1:
            result = _apply(power, result)
        power = _apply(power, power)
        length >>= 1
    return result


def _apply(columns: Words, vectors: Words) -> Words:
    result = np.zeros_like(vectors)
    for bit in range(32):
        result ^= np.where((vectors >> np.uint32(bit)) & 1, columns[bit], np.uint32(0))
    return result


def combined(crcs: Sequence[int], length: int) -> int:
    """Return the CRC-32C of several pieces of `length` bytes in a row, from the CRC-32C of each."""
    columns = _zero_bytes_operator(length)
    bits = np.arange(256, dtype=np.uint32)
    tables = [_apply(columns, bits << np.uint32(shift)).tolist() for shift in (0, 8, 16, 24)]
    first, second, third, fourth = tables
    whole = 0
    for crc in crcs:
        shifted = first[whole & 0xFF] ^ second[whole >> 8 & 0xFF]
        whole = shifted ^ third[whole >> 16 & 0xFF] ^ fourth[whole >> 24] ^ crc
    return whole


def _fastest() -> Callable[[int, bytes | Array], int]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns if its C part is missing; numpy serves there
            import google_crc32c  # noqa: PLC0415
    except ImportError:
        return extend_in_numpy
    if google_crc32c.implementation != "c":
        return extend_in_numpy
    extend: Callable[[int, bytes | Array], int] = google_crc32c.extend
    return extend


extend = _fastest()
