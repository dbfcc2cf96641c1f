"""Malformed checkpoints whose index is broken as a table."""

from __future__ import annotations

import struct
from pathlib import Path

import bundle_writer as w
from hostile_registry import LONG_VARINT, PAIRS, a_bundle, case, cases, with_index

GOOD = a_bundle().index()


def flipped(data: bytes, position: int) -> bytes:
    """Return `data` with one bit of one byte changed."""
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def one_block(contents: bytes, last: bytes = b"~", kind: int = 0) -> bytes:
    """Return a table of one block with these contents."""
    return w.assemble([(last, w.sealed(contents, kind))])


def entries_block(*raw: bytes, restarts: tuple[int, ...] = (0,), count: int | None = None) -> bytes:
    """Return a block of hand-made entries."""
    tail = struct.pack(f"<{len(restarts)}I", *restarts)
    return b"".join(raw) + tail + struct.pack("<I", len(restarts) if count is None else count)


def pair(shared: int, key: bytes, value: bytes, size: int | None = None) -> bytes:
    """Return one hand-made block entry."""
    length = len(value) if size is None else size
    return w.varint(shared) + w.varint(len(key)) + w.varint(length) + key + value


FIRST = pair(0, b"", w.header())
SNAPPY_BLOCK = w.compress(w.block(PAIRS))

TABLES = {
    "table/no-magic": {
        "last byte lost": GOOD[:-1],
        "half of it": GOOD[: len(GOOD) // 2] + b"\0" * 48,
        "magic with one bit wrong": GOOD[:-1] + bytes([GOOD[-1] ^ 1]),
        "appended newline": GOOD + b"\n",
    },
    "table/too-short": {"a footer's half": GOOD[-24:], "one byte": b"\0"},
    "table/bad-checksum": {
        "bit flipped in a block": flipped(GOOD, 0),
        "bit flipped in a checksum": flipped(GOOD, len(w.block(PAIRS)) + 1),
    },
    "table/block-outside-file": {
        "index handle beyond the end": GOOD[:-48] + w.footer((0, 1), (len(GOOD), 10)),
        "index handle of 2**63 bytes": GOOD[:-48] + w.footer((0, 1), (0, 1 << 63)),
        "metaindex handle beyond the end": GOOD[:-48] + w.footer((1 << 40, 1), (0, 1)),
        "data block beyond the end": w.assemble([], w.block([(b"~", w.varint(1 << 30) + w.varint(9))])),
        "offset and size that wrap around": w.assemble([], w.block([(b"~", w.varint(-1) + w.varint(2))])),
    },
    "wire/truncated-varint": {
        "footer of continuation bits cut short": w.assemble([], w.block([(b"~", b"\x80")])),
        "snappy length cut short": one_block(b"\x80", kind=1),
    },
    "wire/varint-too-long": {
        "footer": GOOD[:-48] + LONG_VARINT.ljust(40, b"\0") + GOOD[-8:],
        "block handle": w.assemble([], w.block([(b"~", LONG_VARINT + b"\0")])),
        "entry header": one_block(entries_block(LONG_VARINT + b"\0\0")),
        "snappy length": one_block(LONG_VARINT + b"\0", kind=1),
    },
    "table/bad-handle": {
        "trailing bytes": w.assemble([], w.block([(b"~", w.varint(0) + w.varint(4) + b"\0")]))
    },
    "table/overlapping-blocks": {
        "one block listed a thousand times": w.assemble(
            [(b"k", w.sealed(w.block(PAIRS)))],
            w.block([(b"k%03d" % n, w.varint(0) + w.varint(len(w.block(PAIRS)))) for n in range(1000)]),
        )
    },
    "table/unknown-compression": {
        f"type {kind}": one_block(w.block(PAIRS), kind=kind) for kind in (2, 4, 255)
    },
    "table/bad-restart-count": {
        "zero": one_block(entries_block(FIRST, restarts=(), count=0)),
        "more than fit": one_block(entries_block(FIRST, count=1000)),
        "two to the 32nd": one_block(entries_block(FIRST, count=0xFFFFFFFF)),
        "block of three bytes": one_block(b"\0\0\0"),
    },
    "table/bad-restart": {
        "beyond the entries": one_block(entries_block(FIRST, restarts=(0, 10_000))),
        "falling": one_block(entries_block(FIRST, restarts=(0, 3, 2))),
        "first is not zero": one_block(entries_block(FIRST, restarts=(3,))),
    },
    "table/entry-outside-block": {
        "header cut short": one_block(entries_block(b"\x80")),
        "value longer than the block": one_block(entries_block(FIRST, pair(0, b"a", b"", 10_000))),
        "key longer than the block": one_block(entries_block(FIRST, b"\0\x7f\0")),
        "size of two to the 63rd": one_block(entries_block(FIRST, pair(0, b"a", b"", 1 << 63))),
    },
    "table/bad-shared-prefix": {
        "one more than the key has": one_block(entries_block(FIRST, pair(1, b"a", b""))),
        "two to the 40th": one_block(entries_block(FIRST, pair(1 << 40, b"a", b""))),
    },
    "table/duplicate-key": {
        "in one block": one_block(w.block([PAIRS[0], PAIRS[1], PAIRS[1]], 1)),
        "in two blocks": w.assemble(
            [(PAIRS[1][0], w.sealed(w.block(PAIRS[:2]))), (b"~", w.sealed(w.block(PAIRS[1:])))]
        ),
        "the header": one_block(w.block([PAIRS[0], *PAIRS], 1)),
    },
    "table/unsorted-keys": {
        "in one block": one_block(w.block([PAIRS[0], PAIRS[2], PAIRS[1]], 1)),
        "in two blocks": w.assemble(
            [(b"c", w.sealed(w.block([PAIRS[0], PAIRS[2]]))), (b"~", w.sealed(w.block([PAIRS[1]])))]
        ),
        "in the index block": w.assemble(
            [(b"~", w.sealed(w.block(PAIRS[:2]))), (b"a", w.sealed(w.block(PAIRS[2:])))]
        ),
    },
    "table/key-beyond-index": {"last key too small": one_block(w.block(PAIRS), last=b"a")},
    "snappy/impossible-length": {
        "four gigabytes": one_block(w.varint(0xFFFFFFFF) + SNAPPY_BLOCK[1:], kind=1),
        "two to the 63rd": one_block(w.varint(1 << 63) + b"\0a", kind=1),
    },
    "snappy/wrong-length": {
        "less than declared": one_block(w.varint(9) + b"\0a", kind=1),
        "more than declared": one_block(w.varint(1) + b"\x04ab", kind=1),
        "bomb that declares little": one_block(w.varint(70) + b"\0a" + b"\xfe\1\0" * 100_000, kind=1),
    },
    "snappy/truncated": {
        "copy without its offset": one_block(w.varint(9) + b"\0a\xfe\1", kind=1),
        "literal without its length": one_block(w.varint(9) + b"\xf4\1", kind=1),
    },
    "snappy/literal-too-long": {
        "literal of four gigabytes": one_block(w.varint(9) + b"\xfc\xff\xff\xff\xff", kind=1)
    },
    "snappy/bad-offset": {
        "zero": one_block(w.varint(9) + b"\0a\xfe\0\0", kind=1),
        "before the start": one_block(w.varint(9) + b"\0a\xfe\2\0", kind=1),
        "at the very start": one_block(w.varint(9) + b"\x01\x01", kind=1),
    },
    "bundle/no-header": {
        "no entries": w.assemble([]),
        "first key is a variable": w.table(PAIRS[1:]),
        "empty block": one_block(w.block([])),
    },
}


@cases("index", TABLES)
def _(folder: Path, index: bytes) -> Path:
    return with_index(folder, index)


@case("table/expansion-budget", "an index of two megabytes that expands to gigabytes")
def _(folder: Path) -> Path:
    value = w.entry(1, (0,))
    raw = [FIRST] + [w.varint(n) + b"\1" + w.varint(len(value)) + b"a" + value for n in range(130_000)]
    return with_index(folder, one_block(entries_block(*raw)))


@case("table/expansion-budget", "a compressed index of many small entries")
def _(folder: Path) -> Path:
    value = w.entry(1, (0,))
    keys = [(b"", w.header())] + [(b"%07d" % n, value) for n in range(600_000)]
    blocks = [
        (part[-1][0], w.sealed(w.compress(w.block(part)), 1))
        for part in (keys[n : n + 100_000] for n in range(0, 600_000, 100_000))
    ]
    return with_index(folder, w.assemble(blocks))


@case("table/huge-block", "a sparse index with a block of a gigabyte")
def _(folder: Path) -> Path:
    size = 1 << 30
    index = w.sealed(w.block([(b"~", w.varint(0) + w.varint(size - 5))]))
    with (folder / "ckpt.index").open("wb") as file:
        file.seek(size)
        file.write(index + w.footer((0, 1), (size, len(index) - 5)))
    return folder / "ckpt"
