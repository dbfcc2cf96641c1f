"""Malformed V1 checkpoints."""

from __future__ import annotations

from pathlib import Path

import bundle_writer as w
import numpy as np
from hostile_registry import FLOATS, LONG_VARINT, case, cases

FULL = ((0, None), (0, None))
GOOD_V1 = w.v1_entries({"x": FLOATS, "n": np.arange(3, dtype=np.int32)})


def v1(folder: Path, entries: list[tuple[bytes, bytes]], name: str = "model.ckpt") -> Path:
    """Store a V1 file."""
    (folder / name).write_bytes(w.table(entries, snappy=True))
    return folder / name


def v1_of(dtype: int, shape: tuple[int, ...], proto: bytes, slices: list[bytes] | None = None) -> list:
    """Return the entries of a V1 file with one tensor of a hand-made TensorProto."""
    full = tuple((0, None) for _ in shape)
    meta = w.v1_meta(b"x", dtype, shape, [w.slice_proto(full)] if slices is None else slices)
    return [(b"", w.data(1, meta)), w.v1_data(b"x", full, proto)]


def _meta(meta: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"", w.data(1, meta)), *GOOD_V1[1:]]


V1_FILES = {
    "v1/wrong-count": {
        "too few": v1_of(1, (2, 3), w.data(5, b"\0" * 20)),
        "a shape of a trillion": v1_of(1, (1 << 20, 1 << 20), w.data(5, b"\0" * 24)),
        "none": v1_of(3, (3,), b""),
        "strings": v1_of(7, (3,), w.data(8, b"a")),
        "content": v1_of(1, (2, 3), w.data(4, b"\0" * 20)),
    },
    "v1/ragged-values": {
        "23 bytes of floats": v1_of(1, (2, 3), w.data(5, b"\0" * 23)),
        "content": v1_of(2, (1,), w.data(4, b"\0" * 7)),
    },
    "v1/value-out-of-range": {
        "300 in a byte": v1_of(4, (1,), w.data(7, w.varint(300))),
        "-129 in an int8": v1_of(6, (1,), w.data(7, w.varint(-129))),
    },
    "v1/unpacked-values": {"float": v1_of(1, (1,), w.fixed32(5, 0))},
    "v1/unsupported-dtype": {"resource": v1_of(20, (), b""), "float8": v1_of(24, (1,), w.data(18, b"\0"))},
    "v1/unknown-dtype": {"99": v1_of(99, (1,), b"")},
    "v1/missing-slice": {"no data": GOOD_V1[:1]},
    "v1/wrong-slice": {
        "of another tensor": [GOOD_V1[0], (GOOD_V1[1][0], GOOD_V1[2][1]), GOOD_V1[2]],
        "no tensor in it": [GOOD_V1[0], (GOOD_V1[1][0], b""), GOOD_V1[2]],
    },
    "slice/hole": {"half the rows": v1_of(1, (2, 3), b"", [w.slice_proto(((0, 1), (0, None)))])},
    "slice/overlap": {"the same rows twice": v1_of(1, (2, 3), b"", [w.slice_proto(((0, 1), (0, None)))] * 2)},
    "slice/wrong-rank": {"no axes": v1_of(1, (2, 3), b"", [w.slice_proto(((0, 1),))])},
    "shape/negative-dimension": {"V1": _meta(w.v1_meta(b"x", 1, (-2, 3), []))},
    "v1/contradiction": {
        "two shapes of one name": _meta(w.v1_meta(b"x", 1, (1,), []) + w.v1_meta(b"x", 1, (2,), []))
    },
    "bundle/newer-version": {"V1": _meta(w.data(2, w.number(2, 9)))},
    "wire/varint-too-long": {"V1 values": v1_of(3, (1,), w.data(7, LONG_VARINT))},
    "wire/truncated-varint": {"V1 values": v1_of(9, (1,), w.data(10, b"\x80"))},
    "wire/truncated-field": {"V1 meta": [(b"", b"\x0a\x7f"), *GOOD_V1[1:]]},
}


@cases("V1", V1_FILES)
def _(folder: Path, entries: list) -> Path:
    return v1(folder, entries)


@case("v1/missing-file", "a v1 file of three is missing")
def _(folder: Path) -> Path:
    return v1(folder, GOOD_V1, "model-00001-of-00003")


@case("v1/missing-file", "a v1 file of none")
def _(folder: Path) -> Path:
    return v1(folder, GOOD_V1, "model-00000-of-00000")


@case("v1/missing-file", "a v1 file of ninety nine thousand")
def _(folder: Path) -> Path:
    return v1(folder, GOOD_V1, "model-00000-of-99999")
