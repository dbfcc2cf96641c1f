"""Malformed checkpoints whose slices, strings or object graph are broken."""

from __future__ import annotations

from pathlib import Path

import bundle_writer as w
import numpy as np
from hostile_registry import FLOATS, a_bundle, case, cases

# --- slices ---------------------------------------------------------------------------------------------

ROWS = [((0, 1), (0, None)), ((1, 1), (0, None))]


def sliced(slices: list = ROWS, array: np.ndarray = FLOATS) -> w.Bundle:
    """Return a bundle of one tensor in slices."""
    bundle = w.Bundle()
    bundle.put_slices("s", array, slices)
    return bundle


@case("slice/hole", "slices that leave a row out")
def _(folder: Path) -> Path:
    return sliced([((0, 1), (0, None))]).store(folder / "ckpt")


@case("slice/overlap", "slices that overlap")
def _(folder: Path) -> Path:
    return sliced([((0, 2), (0, 2)), ((0, 1), (1, 2)), ((1, 1), (0, 3))]).store(folder / "ckpt")


@case("slice/overlap", "slices that overlap and fill the volume")
def _(folder: Path) -> Path:
    return sliced([((0, 1), (0, None)), ((0, 1), (0, 3))]).store(folder / "ckpt")


@case("slice/repeated", "a slice listed twice")
def _(folder: Path) -> Path:
    bundle = sliced()
    bundle.entries[b"s"] = w.entry(1, (2, 3), slices=(*ROWS, ROWS[0]))
    return bundle.store(folder / "ckpt")


@case("slice/wrong-shape", "a slice of another shape")
def _(folder: Path) -> Path:
    bundle = sliced()
    bundle.entries[w.slice_key(b"s", ROWS[0])] = w.entry(1, (3, 1), (0, 0, 12), w.crc(FLOATS[0].tobytes()))
    return bundle.store(folder / "ckpt")


@case("slice/wrong-shape", "a slice of another dtype")
def _(folder: Path) -> Path:
    bundle = sliced()
    bundle.entries[w.slice_key(b"s", ROWS[0])] = w.entry(3, (1, 3), (0, 0, 12), w.crc(FLOATS[0].tobytes()))
    return bundle.store(folder / "ckpt")


@case("slice/nested", "a slice stored in slices")
def _(folder: Path) -> Path:
    bundle = sliced()
    bundle.entries[w.slice_key(b"s", ROWS[0])] = w.entry(1, (1, 3), slices=(((0, 1), (0, None)),))
    return bundle.store(folder / "ckpt")


@case("slice/orphan", "a slice without its tensor")
def _(folder: Path) -> Path:
    bundle = sliced()
    del bundle.entries[b"s"]
    return bundle.store(folder / "ckpt")


@case("slice/tangled", "three thousand slices that no cut separates")
def _(folder: Path) -> Path:
    bundle = w.Bundle()
    extents = [((n % 60, 40), (n // 60, 60)) for n in range(3000)]
    bundle.entries[b"s"] = w.entry(1, (100, 200), slices=tuple(extents))
    for extent in extents:
        bundle.files[0] += bytes(9600)
        place = 0, len(bundle.files[0]) - 9600, 9600
        bundle.entries[w.slice_key(b"s", extent)] = w.entry(1, (40, 60), place)
    return bundle.store(folder / "ckpt")


@case("bundle/bad-checksum", "a damaged slice")
def _(folder: Path) -> Path:
    bundle = sliced()
    bundle.files[0][13] ^= 1
    return bundle.store(folder / "ckpt")


# --- strings --------------------------------------------------------------------------------------------


def strings(folder: Path, body: bytes, shape: tuple[int, ...], checksum: int = 0) -> Path:
    """Store a string tensor of these raw bytes."""
    bundle = w.Bundle()
    bundle.files[0] += body
    bundle.entries[b"s"] = w.entry(7, shape, (0, 0, len(body)), checksum)
    return bundle.store(folder / "ckpt")


TWO, TWO_CRC = w.string_bytes([b"ab", b"cde"])
STRINGS = {
    "bundle/string-lengths": {
        "shorter than said": TWO[:-1],
        "longer than said": TWO + b"x",
        "lengths of a terabyte": w.varint(1 << 40) + b"\x01" + TWO[2:],
    },
    "bundle/bad-length-checksum": {
        "lengths exchanged": TWO[1::-1] + TWO[2:],
        "damaged": TWO[:2] + bytes([TWO[2] ^ 1]) + TWO[3:],
    },
    "bundle/bad-checksum": {"damaged text": TWO[:-1] + b"x"},
    "wire/truncated-varint": {"endless length": b"\xff" * 8},
    "wire/varint-too-long": {"length over 64 bits": b"\xff" * 12 + TWO},
}


@cases("strings", STRINGS)
def _(folder: Path, body: bytes) -> Path:
    return strings(folder, body, (2,), TWO_CRC)


# --- object graphs --------------------------------------------------------------------------------------

LEAF = w.graph_node(key="a/kernel", full_name="kernel")
DEEP = b"".join(w.graph_node({"c": n + 1}) for n in range(1000)) + LEAF
GRAPHS = {
    "graph/empty": {"no nodes": b""},
    "graph/bad-node": {
        "child beyond the end": w.graph_node({"a": 2}) + LEAF,
        "child of two to the 63rd": w.graph_node({"a": 1 << 63}) + LEAF,
        "negative child": w.graph_node({"a": -1}) + LEAF,
        "slot variable beyond the end": w.graph_node({"a": 1}, slots=((1, "m", 9),)) + LEAF,
        "original beyond the end": w.graph_node({"a": 1}, slots=((9, "m", 1),)) + LEAF,
    },
    "graph/duplicate-child": {
        "one name twice": w.graph_node({"a": 1}, extra=w.data(1, w.number(1, 0) + w.data(2, b"a"))) + LEAF
    },
    "graph/duplicate-variable": {
        "two values": w.graph_node(key="b", extra=w.data(2, w.data(1, b"VARIABLE_VALUE") + w.data(3, b"b")))
    },
    "graph/missing-variable": {
        "key that is not stored": w.graph_node(key="gone"),
        "empty key": w.graph_node(key=""),
    },
    "graph/unreferenced-nodes": {"a million empty nodes": b"\x0a\x00" * 1_000_000},
    "wire/truncated-field": {"node cut off": DEEP[:-3]},
    "wire/unexpected-wire-type": {
        "node as a number": w.number(1, 5),
        "child as text": w.data(1, w.data(1, w.data(1, b"1"))),
    },
    "wire/bad-wire-type": {"group": w.data(1, b"\x0b")},
    "wire/truncated-varint": {"child": w.data(1, w.data(1, b"\x08\x80"))},
}


@cases("object graph", GRAPHS)
def _(folder: Path, graph: bytes) -> Path:
    bundle = a_bundle()
    bundle.put(w.GRAPH_KEY, w.string_scalar(graph))
    return bundle.store(folder / "ckpt")


@case("graph/not-a-string", "an object graph of floats")
def _(folder: Path) -> Path:
    bundle = a_bundle()
    bundle.put(w.GRAPH_KEY, FLOATS)
    return bundle.store(folder / "ckpt")


@case("graph/not-a-string", "two object graphs")
def _(folder: Path) -> Path:
    bundle = a_bundle()
    bundle.put(w.GRAPH_KEY, np.array([DEEP, DEEP], object))
    return bundle.store(folder / "ckpt")


@case("graph/too-deep", "a name of a million slashes")
def _(folder: Path) -> Path:
    bundle = w.Bundle()
    bundle.put("/" * 1_000_000, FLOATS)
    return bundle.store(folder / "ckpt")
