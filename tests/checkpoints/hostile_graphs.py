"""Malformed frozen graphs."""

from __future__ import annotations

from pathlib import Path

import bundle_writer as w
import numpy as np
from hostile_registry import LONG_VARINT, cases

_VALUES = np.arange(6, dtype=np.float32)


def shape(*lengths: int) -> bytes:
    """Return a TensorShapeProto."""
    return b"".join(w.data(2, w.number(1, length)) for length in lengths)


def tensor(dtype: int = 1, lengths: tuple[int, ...] = (2, 3), values: bytes | None = None) -> bytes:
    """Return a TensorProto; `values` are its serialized value fields."""
    content = w.data(4, _VALUES.tobytes()) if values is None else values
    return w.number(1, dtype) + w.data(2, shape(*lengths)) + content


def const(name: bytes = b"a/weights", value: bytes | None = None) -> bytes:
    """Return a GraphDef field with a Const node."""
    attribute = w.data(1, b"value") + w.data(2, w.data(8, tensor() if value is None else value))
    return w.data(1, w.data(1, name) + w.data(2, b"Const") + w.data(5, attribute))


def identity(name: bytes, source: bytes) -> bytes:
    """Return a GraphDef field with an Identity node."""
    return w.data(1, w.data(1, name) + w.data(2, b"Identity") + w.data(3, source))


READ = identity(b"a/weights/read", b"a/weights")  # makes a weight of a constant of any type
HEALTHY = const() + identity(b"a/weights/read", b"a/weights") + w.data(4, w.number(1, 21))

GRAPHS = {
    "graphdef/no-weights": {
        "not frozen": identity(b"output", b"input"),
        "strings alone": const(value=tensor(7, (1,), w.data(8, b"text"))),
    },
    "graphdef/duplicate-node": {"two of one name": const() + const()},
    "graphdef/unknown-dtype": {
        "number 99": const(value=tensor(99)),
        "a negative number": const(value=tensor(-1)),
    },
    "graphdef/unknown-field": {"number 9": HEALTHY + w.data(9, b"")},
    "graphdef/long-name": {"a megabyte": HEALTHY + const(b"n" * (1 << 20))},
    "graphdef/implausible-shape": {"four terabytes from one value": const(value=tensor(1, (1 << 40,), b""))},
    "shape/negative-dimension": {"minus one": const(value=tensor(1, (-1, 3)))},
    "shape/overflow": {"2^80 elements": const(value=tensor(1, (1 << 40, 1 << 40)))},
    "shape/too-many-dimensions": {"forty": const(value=tensor(1, (1,) * 40))},
    "v1/wrong-count": {
        "too few bytes": const(value=tensor(values=w.data(4, _VALUES[:4].tobytes()))),
        "too many values": const(value=tensor(values=w.data(5, _VALUES.repeat(2).tobytes()))),
    },
    "v1/ragged-values": {
        "five bytes": const(value=tensor(values=w.data(4, b"12345"))),
        "five bytes of floats": const(value=tensor(values=w.data(5, b"12345"))),
    },
    "v1/value-out-of-range": {"300 as a byte": const(value=tensor(4, (1,), w.data(7, w.varint(300)))) + READ},
    "wire/truncated-field": {
        "cut off": HEALTHY[:-1],
        "inside a tensor": const() + w.data(1, w.data(1, b"b") + w.data(2, b"Const") + b"\x2a\x70"),
    },
    "wire/truncated-varint": {"in a value": const(value=tensor(9, (1,), w.data(10, b"\xff"))) + READ},
    "wire/varint-too-long": {
        "in a value": const(value=tensor(9, (1,), w.data(10, LONG_VARINT))) + READ,
        "as a length": const() + b"\x0a" + LONG_VARINT,
    },
    "wire/bad-wire-type": {"a group": const() + b"\x0b"},
    "wire/bad-field-number": {"number 0": const() + b"\x02\x00"},
}


def dequantize(source: bytes, mode: bytes = b"MIN_FIRST") -> bytes:
    """Return a GraphDef field with a Dequantize node of constants called `source`, a_min and a_max."""
    told = w.data(1, b"mode") + w.data(2, w.data(2, mode))
    inputs = b"".join(w.data(3, name) for name in (source, b"a_min", b"a_max"))
    return w.data(1, w.data(1, b"a/weights") + w.data(2, b"Dequantize") + inputs + w.data(5, told))


def number(name: bytes, value: float, lengths: tuple[int, ...] = ()) -> bytes:
    """Return a GraphDef field with a constant of one number."""
    return const(name, tensor(1, lengths, w.data(4, np.float32(value).tobytes())))


WORDS = const(b"a_const", tensor(12, (2, 3), w.data(4, bytes(range(6)))))
ENDS = number(b"a_min", -1) + number(b"a_max", 1)
QUANTISED = WORDS + ENDS + dequantize(b"a_const")
GRAPHS |= {
    "graphdef/bad-quantisation": {
        "floats": const(b"a_const") + ENDS + dequantize(b"a_const"),
        "no range": WORDS + number(b"a_min", -1) + dequantize(b"a_const"),
        "two lowest values": WORDS
        + const(b"a_min", tensor(1, (2,), w.data(4, bytes(8))))
        + number(b"a_max", 1)
        + dequantize(b"a_const"),
        "a range that is no number": WORDS
        + number(b"a_min", float("nan"))
        + number(b"a_max", 1)
        + dequantize(b"a_const"),
    },
    "graphdef/unknown-quantisation": {"scaled": WORDS + ENDS + dequantize(b"a_const", b"SCALED")},
}


@cases("graph", GRAPHS)
def _(folder: Path, content: bytes) -> Path:
    (folder / "frozen.pb").write_bytes(content)
    return folder / "frozen.pb"
