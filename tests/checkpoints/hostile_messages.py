"""Malformed checkpoints whose table is sound and whose entries are not."""

from __future__ import annotations

from pathlib import Path

import bundle_writer as w
from hostile_registry import FLOATS, PAIRS, a_bundle, case, cases, with_index

KERNEL = a_bundle().entries[b"a/kernel"]
HEADERS = {
    "bundle/bad-shard-count": {
        "none": b"",
        "zero": w.number(1, 0),
        "negative": w.header(-1),
        "two to the 40th": w.header(1 << 40),
    },
    "bundle/bad-endianness": {"two": w.number(1, 1) + w.number(2, 2)},
    "bundle/newer-version": {"minimum consumer 2": w.header(version=w.number(1, 2) + w.number(2, 2))},
    "bundle/excluded-version": {
        "listed": w.header(version=w.number(3, 1)),
        "listed packed": w.header(version=w.data(3, b"\x07\x01")),
    },
    "wire/bad-wire-type": {"group": w.header() + b"\x23", "type seven": w.header() + b"\x27"},
    "wire/bad-field-number": {"zero": b"\x00\x01" + w.header(), "beyond 32 bits": w.varint(1 << 35) + b"\0"},
    "wire/truncated-field": {"version longer than the header": w.number(1, 1) + b"\x1a\x7f"},
    "wire/unexpected-wire-type": {"shard count as text": w.data(1, b"1")},
    "wire/truncated-varint": {"in the header": b"\x08\x80"},
}
ENTRIES = {
    "bundle/unknown-dtype": {
        "none": w.data(2, b""),
        "99": w.entry(99, (2, 3), (0, 0, 24)),
        "a reference type": w.entry(101, (2, 3), (0, 0, 24)),
        "two to the 63rd": w.entry(1 << 63, (2, 3), (0, 0, 24)),
    },
    "shape/negative-dimension": {
        "minus one": w.entry(1, (-1,)),
        "two that multiply to six": w.entry(1, (-2, -3), (0, 0, 24)),
    },
    "shape/overflow": {
        "two to the 64th": w.entry(1, (1 << 32, 1 << 32), (0, 0, 24)),
        "wraps around to six": w.entry(1, ((1 << 62) + 3, 2), (0, 0, 24)),
        "hidden behind a zero": w.entry(1, (0, 1 << 62, 1 << 62)),
    },
    "shape/unknown-rank": {"flag": w.entry(1, w.number(3, 1), (0, 0, 24))},
    "shape/too-many-dimensions": {
        "255 axes": w.entry(1, (1,) * 255, (0, 0, 4)),
        "33 axes": w.entry(1, (1,) * 33, (0, 0, 4)),
    },
    "bundle/wrong-size": {
        "too small": w.entry(1, (2, 3), (0, 0, 20)),
        "too large": w.entry(1, (2, 3), (0, 0, 28)),
        "huge shape of little data": w.entry(1, (1 << 20, 1 << 20), (0, 0, 24)),
        "zero for a scalar": w.entry(2, ()),
        "data for an empty tensor": w.entry(1, (0,), (0, 0, 4)),
        "negative": w.entry(1, (2, 3), (0, 0, -24)),
    },
    "bundle/negative-offset": {
        "minus 24": w.entry(1, (2, 3), (0, -24, 24)),
        "empty tensor": w.entry(1, (0,), (0, -1, 0)),
    },
    "bundle/bad-shard-number": {
        "one of one": w.entry(1, (2, 3), (1, 0, 24)),
        "negative": w.entry(1, (2, 3), (-1, 0, 24)),
    },
    "bundle/truncated-shard": {
        "terabytes beyond the end": w.entry(1, (1 << 38,), (0, 0, 1 << 40)),
        "starts at the end": w.entry(1, (2, 3), (0, 56, 24)),
        "offset near two to the 63rd": w.entry(1, (2, 3), (0, (1 << 63) - 8, 24)),
    },
    "bundle/overlapping-tensors": {"shares eight bytes": w.entry(1, (2, 3), (0, 16, 24))},
    "bundle/bad-checksum": {
        "zero": w.entry(1, (2, 3), (0, 0, 24)),
        "of other bytes": w.entry(1, (2, 3), (0, 0, 24), 7),
    },
    "bundle/string-count": {
        "a billion strings in 24 bytes": w.entry(7, (1 << 30,), (0, 0, 24)),
        "no room for the checksum": w.entry(7, (22,), (0, 0, 24)),
    },
    "bundle/not-data": {"resource": w.entry(20, (), (0, 0, 24)), "variant": w.entry(21, (), (0, 0, 24))},
    "bundle/bad-bool": {"bytes of a float": w.entry(10, (24,), (0, 0, 24), w.crc(FLOATS.tobytes()))},
    "slice/missing": {
        "slices that are not there": w.entry(1, (2, 3), slices=(((0, 1), (0, None)), ((1, 1), (0, None))))
    },
    "slice/wrong-rank": {"one axis for two": w.entry(1, (2, 3), slices=(((0, 2),),))},
    "slice/outside-tensor": {"beyond the end": w.entry(1, (2, 3), slices=(((0, 3), (0, None)),))},
    "slice/bad-start": {"negative": w.entry(1, (2, 3), slices=(((-1, 1), (0, None)),))},
    "slice/bad-length": {
        "zero": w.entry(1, (2, 3), slices=(((0, 0), (0, None)),)),
        "negative": w.entry(1, (2, 3), slices=(((0, -5), (0, None)),)),
    },
    "wire/truncated-fixed": {"checksum": KERNEL[:-2]},
    "wire/truncated-varint": {"dtype": b"\x08"},
    "wire/truncated-field": {"shape of a gigabyte": w.number(1, 1) + b"\x12" + w.varint(1 << 30)},
    "wire/unexpected-wire-type": {"offset as text": KERNEL + w.data(4, b"0")},
}


@cases("header", HEADERS)
def _(folder: Path, value: bytes) -> Path:
    return with_index(folder, w.table([(b"", value), *PAIRS[1:]]))


@cases("entry", ENTRIES)
def _(folder: Path, value: bytes) -> Path:
    return with_index(folder, w.table([PAIRS[0], (b"a/kernel", value), PAIRS[2]]))


@case("bundle/missing-shard", "two billion data files")
def _(folder: Path) -> Path:
    return with_index(folder, w.table([(b"", w.header((1 << 31) - 1)), *PAIRS[1:]]))
