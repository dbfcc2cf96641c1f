"""Malformed TensorFlow Lite models."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flatbuffer_writer import Number, Shared, Table, flatbuffer
from hostile_registry import cases

_FLOAT, _INT8, _STRING = 0, 9, 5
_CONV, _DENSE, _MAXIMUM, _REDUCE_MAX, _DENSIFY = 3, 9, 55, 82, 124


def integers(*values: int) -> Any:
    """Return a vector of int32."""
    return np.array(values, np.int32)


def tensor(shape: Any, buffer: int = 0, name: str = "t", **fields: Any) -> Table:
    """Return a tensor; `fields` are type, quantisation, sparsity."""
    kind = Number("b", fields.get("type", _FLOAT))
    found = {0: integers(*shape), 1: kind, 2: Number("I", buffer), 3: name}
    places = {"quantisation": 4, "sparsity": 6}
    return Table(found | {places[key]: value for key, value in fields.items() if key in places})


def operator(inputs: Any, outputs: Any, code: int = 0, options: Table | None = None) -> Table:
    """Return an operator."""
    found: dict[int, Any] = {0: Number("I", code), 1: integers(*inputs), 2: integers(*outputs)}
    return Table(found | ({4: options} if options is not None else {}))


def conv_options(padding: int = 0, stride: int = 1, dilation: int = 1) -> Table:
    """Return the options of a convolution."""
    moves = {field: Number("i", stride) for field in (1, 2)} | {f: Number("i", dilation) for f in (4, 5)}
    return Table({0: Number("b", padding), **moves})


def graph(**changes: Any) -> dict[int, Any]:
    """Return the fields of a graph with one 1x1 convolution of three channels to two."""
    kernel = changes.get("kernel", tensor((2, 1, 1, 3), 1, "kernel"))
    bias = changes.get("bias", tensor((2,), 2, "bias"))
    image, output = tensor((1, 4, 4, 3), name="image"), tensor((1, 4, 4, 2), name="output")
    conv = operator((0, 1, 2), (3,), options=conv_options())
    return {
        0: changes.get("tensors", [image, kernel, bias, output]),
        1: changes.get("inputs", integers(0)),
        2: changes.get("outputs", integers(3)),
        3: changes.get("operators", [conv]),
    }


def model(changed: Mapping[int, Any] | None = None, *, code: int = _CONV, **changes: Any) -> bytes:
    """Return a model; `changed` are fields of the outermost table, `changes` those of its graph."""
    values = [b"", np.arange(6, dtype=np.float32).tobytes(), np.ones(2, np.float32).tobytes()]
    fields = {
        0: Number("I", 3),
        1: [Table({0: Number("b", min(code, 127)), 3: Number("i", code)})],
        2: [Table(graph(**changes))],
        4: [Table({0: each} if each else {}) for each in changes.get("values", values)],
    }
    return flatbuffer(Table(fields | dict(changed or {})), b"TFL3")


def scales(count: int, axis: int = 0, value: float = 0.5, zero_points: int | None = None) -> Table:
    """Return how integers stand for numbers."""
    points = np.zeros(count if zero_points is None else zero_points, np.int64)
    return Table({2: np.full(count, value, np.float32), 3: points, 6: Number("i", axis)})


def quantised(table: Table) -> bytes:
    """Return a model whose kernel is int8."""
    kernel = tensor((2, 1, 1, 3), 1, "kernel", type=_INT8, quantisation=table)
    return model(kernel=kernel, values=[b"", bytes(range(6)), np.ones(2, np.float32).tobytes()])


def _conv(inputs: Any = (0, 1, 2), outputs: Any = (3,), code: int = 0, **options: int) -> bytes:
    return model(operators=[operator(inputs, outputs, code, conv_options(**options))])


def _patched(place: int, form: str, value: int) -> bytes:
    data = bytearray(HEALTHY)
    struct.pack_into(form, data, place, value)
    return bytes(data)


def _repeated() -> bytes:
    """Return a small file that stands for 1,000 times 20,000 inputs."""
    inputs = Shared(np.zeros(20_000, np.int32))
    each = Table({0: Number("I", 0), 1: inputs, 2: integers(3), 4: conv_options()})
    return model(operators=[each] * 1000)


def _normed() -> bytes:
    """Return a model with arithmetic with weights and a dense layer on a map behind a convolution."""
    image, pair = (1, 4, 4, 3), (1, 4, 4, 2)
    shapes = [
        image,
        (2, 1, 1, 3),
        (2,),
        pair,
        (2,),
        pair,
        (2,),
        pair,
        (1, 2),
        (2, 2),
        (1, 2),
        pair,
        pair,
        (1,),
    ]
    buffers = {1: 1, 2: 2, 4: 2, 6: 2, 9: 3, 13: 4}
    tensors = [tensor(shape, buffers.get(n, 0), f"t{n}") for n, shape in enumerate(shapes)]
    tensors[13] = tensor((1,), 4, "axis", type=2)
    empty, keeps = Table({}), Table({0: Number("?", 1)})
    steps = [
        operator((0, 1, 2), (3,), 0, conv_options()),
        operator((3, 4), (5,), 1, empty),
        operator((5, 6), (7,), 2, empty),
        operator((7,), (8,), 3, empty),
        operator((8, 9), (10,), 4, empty),
        operator((10,), (11,), 3, empty),
        operator((11, 6), (12,), 2, empty),
        operator((12, 13), (14,), 5, keeps),
    ]
    tensors.append(tensor((1, 4, 4, 1), name="mean"))
    values = [np.arange(6), np.ones(2), np.arange(4)]
    stored = [b"", *(each.astype(np.float32).tobytes() for each in values), integers(3).tobytes()]
    codes = [Table({0: Number("b", code), 3: Number("i", code)}) for code in (_CONV, 18, 0, 22, 9, 40)]
    return model({1: codes}, tensors=tensors, outputs=integers(14), operators=steps, values=stored)


def _reduced() -> bytes:
    """Return a model with a dense layer on a whole map, maxima, sums and limits behind a convolution."""
    pair, vector = (1, 4, 4, 2), (1, 2)
    constants = {1: ((2, 1, 1, 3), 1), 2: ((2,), 2), 4: ((2,), 3), 6: ((2, 2), 4), 11: ((1,), 5), 14: ((), 6)}
    constants[16] = ((2, 32), 7)
    images = {0: (1, 4, 4, 3), 3: pair, 12: (1, 1), 13: (1, 1), 15: (1, 1)}
    shapes = [constants[n][0] if n in constants else images.get(n, vector) for n in range(20)]
    integral = {4: 2, 11: 2}  # int32
    tensors = [
        tensor(shape, constants.get(n, ((), 0))[1], f"t{n}", type=integral.get(n, _FLOAT))
        for n, shape in enumerate(shapes)
    ]
    empty, keeps = Table({}), Table({0: Number("?", 1)})
    steps = [
        operator((0, 1, 2), (3,), 0, conv_options()),
        operator((3, 4), (5,), 1, empty),  # the maximum over the image
        operator((3, 16), (7,), 2, empty),  # a dense layer on all of the map
        operator((5, 6, 7), (8,), 2, empty),  # and one whose bias is computed
        operator((8, 7), (9,), 3, empty),
        operator((9,), (10,), 4, empty),
        operator((10, 11), (12,), 5, keeps),
        operator((12,), (13,), 6, empty),
        operator((13, 14), (15,), 7, empty),
        operator((9, 15), (17,), 8, empty),
        operator((17,), (18,), 9, empty),
        operator((18, 7), (19,), 7, empty),
    ]
    values = [np.arange(6), np.ones(2)]
    stored = [b"", *(each.astype(np.float32).tobytes() for each in values), integers(1, 2).tobytes()]
    stored += [np.ones(4, np.float32).tobytes(), integers(1).tobytes(), np.float32(1e6).tobytes()]
    stored.append(np.ones(64, np.float32).tobytes())
    numbers = (_CONV, _REDUCE_MAX, _DENSE, _MAXIMUM, 92, 74, 76, 57, 18, 11)
    codes = [Table({0: Number("b", code), 3: Number("i", code)}) for code in numbers]
    return model({1: codes}, tensors=tensors, outputs=integers(19), operators=steps, values=stored)


def _prepared() -> bytes:
    """Return a model that resizes, cuts and turns its images in each way in front of a convolution."""
    image, channel = (1, 4, 4, 3), (1, 4, 4)
    whole, turned = integers(0, 0, 0, 0), integers(1, 1, 1, -1)
    picks = [integers(0, 0, 0, n) for n in (2, 1, 0)]
    ends = [integers(0, 0, 0, n) for n in (3, 2, 1)]
    constants = [integers(4, 4), whole, integers(1, 1, 1, 1), turned, *picks, *ends, integers(3)]
    constants.append(integers(2, 1, 0))
    shapes = [image, (2, 1, 1, 3), (2,), *(each.shape for each in constants)]
    types = [_FLOAT] * 3 + [2] * len(constants)  # int32
    size, begin, ones, backwards, *_ = range(3, len(shapes))
    first, axis, order = len(shapes), len(shapes) - 2, len(shapes) - 1
    shapes += [image] * 4 + [channel] * 3 + [image] * 3 + [(1, 4, 4, 2)]
    tensors = [
        tensor(shape, n if 0 < n < first else 0, f"t{n}", type=types[n] if n < first else _FLOAT)
        for n, shape in enumerate(shapes)
    ]
    masked = Table({0: Number("i", 15), 1: Number("i", 15)})
    picked = Table({0: Number("i", 7), 1: Number("i", 7), 4: Number("i", 8)})
    last, empty = Table({0: Number("i", 3), 1: Number("i", 3)}), Table({})
    steps = [
        operator((0, size), (first,), 1, empty),
        operator((first,), (first + 1,), 2, empty),
        operator((first + 1, begin, begin, ones), (first + 2,), 3, empty),  # a crop
        operator((first + 2, begin, begin, backwards), (first + 3,), 3, masked),
        *(operator((first + 3, 7 + n, 10 + n, ones), (first + 4 + n,), 3, picked) for n in range(3)),
        operator((first + 4, first + 5, first + 6), (first + 7,), 4, last),
        operator((first + 7, axis), (first + 8,), 5, empty),
        operator((first + 8, order), (first + 9,), 6, last),
        operator((first + 9, 1, 2), (first + 10,), 0, conv_options()),
    ]
    stored = [b"", np.arange(6, dtype=np.float32).tobytes(), np.ones(2, np.float32).tobytes()]
    stored += [each.tobytes() for each in constants]
    numbers = (_CONV, 23, 53, 45, 83, 105, 36)
    codes = [Table({0: Number("b", code), 3: Number("i", code)}) for code in numbers]
    return model({1: codes}, tensors=tensors, outputs=integers(first + 10), operators=steps, values=stored)


def _code_of(code: int, inputs: Any, outputs: Any = (3,)) -> bytes:
    """Return a model with one operator of some code."""
    return model(code=code, operators=[operator(inputs, outputs, 0, Table({}))])


HEALTHY, NORMED, REDUCED, PREPARED = model(), _normed(), _reduced(), _prepared()
_ROOT = struct.unpack_from("<I", HEALTHY)[0]
_FIELDS = _ROOT - struct.unpack_from("<i", HEALTHY, _ROOT)[0]
_FIELD = _ROOT + struct.unpack_from("<H", HEALTHY, _FIELDS + 4 + 2 * 4)[0]
_BUFFERS = _FIELD + struct.unpack_from("<I", HEALTHY, _FIELD)[0]

TFLITE = {
    "flatbuffer/outside": {
        "cut behind the identifier": HEALTHY[:8],
        "cut in the root": HEALTHY[:40],
        "cut in the middle": HEALTHY[: len(HEALTHY) // 2],
        "a root far outside": _patched(0, "<I", 1 << 31),
        "a root at the end": _patched(0, "<I", len(HEALTHY) - 2),
        "fields in front of the file": _patched(_ROOT, "<i", 1 << 30),
        "fields behind the file": _patched(_ROOT, "<i", -(1 << 30)),
        "a vector of 4 billion tables": _patched(_BUFFERS, "<I", (1 << 32) - 1),
    },
    "flatbuffer/fields": {
        "a list of no length": _patched(_FIELDS, "<H", 0),
        "a list of odd length": _patched(_FIELDS, "<H", 9),
    },
    "flatbuffer/field": {"a field behind its table": _patched(_FIELDS + 4, "<H", 5000)},
    "flatbuffer/too-much": {"operators that share their inputs": _repeated()},
    "flatbuffer/long-text": {"a name of a megabyte": model(kernel=tensor((2, 1, 1, 3), 1, "n" * (1 << 20)))},
    "tflite/version": {"number 2": model({0: Number("I", 2)}), "number 99": model({0: Number("I", 99)})},
    "tflite/no-graph": {"none": model({2: []})},
    "tflite/no-weights": {"no operators": model(operators=[]), "no operator that is known": model(code=5)},
    "tflite/operator": {"a code that is not listed": _conv(code=7), "codes are missing": model({1: []})},
    "tflite/buffer": {"number 9": model(kernel=tensor((2, 1, 1, 3), 9))},
    "tflite/tensor": {
        "an input behind the last": _conv(inputs=(0, 1, 99)),
        "an input before the first": _conv(inputs=(-2, 1, 2)),
        "an output behind the last": _conv(outputs=(99,)),
        "an output that is missing": _conv(outputs=(-1,)),
        "the network's input": model(inputs=integers(12)),
        "the network's output": model(outputs=integers(-1)),
    },
    "tflite/shape": {"a negative length": model(kernel=tensor((2, -1, 1, 3), 1))},
    "tflite/kernel": {
        "three axes": model(kernel=tensor((2, 1, 3), 1)),
        "none": model(kernel=tensor((), 1)),
        "left out": _conv(inputs=(0,)),
    },
    "tflite/order": {"a third input alone": _code_of(_MAXIMUM, (1, 2, 0))},
    "tflite/no-constant": {
        "computed": _conv(inputs=(0, 3, 2)),
        "empty": model(kernel=tensor((2, 1, 1, 3))),
        "no axes of a maximum": _code_of(_REDUCE_MAX, (0,)),
    },
    "tflite/length": {
        "too short": model(kernel=tensor((2, 1, 1, 4), 1)),
        "2^60 elements": model(kernel=tensor((1 << 30, 1 << 30, 1, 3), 1)),
    },
    "tflite/bias": {"three for two": model(bias=tensor((6,), 1))},
    "tflite/type": {"strings": model(kernel=tensor((2, 1, 1, 3), 1, type=_STRING))},
    "tflite/sparse": {
        "a sparse kernel": model(kernel=tensor((2, 1, 1, 3), 1, sparsity=Table({}))),
        "made dense by an operator": model(code=_DENSIFY),
    },
    "tflite/scales": {
        "three for two channels": quantised(scales(3)),
        "an axis that is not there": quantised(scales(2, axis=7)),
        "a negative axis": quantised(scales(2, axis=-1)),
        "not a number": quantised(scales(2, value=float("nan"))),
        "negative": quantised(scales(1, value=-1.0)),
        "zero points for another count": quantised(scales(2, zero_points=3)),
    },
    "tflite/no-scale": {"integers alone": quantised(Table({}))},
    "tflite/options": {"none": model(operators=[operator((0, 1, 2), (3,))])},
    "tflite/padding": {"number 2": _conv(padding=2)},
    "tflite/strides": {
        "no move": _conv(stride=0),
        "backwards": _conv(stride=-1),
        "no dilation": _conv(dilation=0),
    },
}


@cases("TensorFlow Lite model", TFLITE)
def _(folder: Path, content: bytes) -> Path:
    path = folder / "model.tflite"
    path.write_bytes(content)
    return path
