"""Values of a TensorProto, as V1 checkpoints hold them.

Source of the field numbers: tensorflow/core/framework/tensor.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from porter.core.checkpoint import Array
from porter.core.dtypes import DType
from porter.formats.malformed import Malformed
from porter.formats.protobuf import LENGTH, Buffer, fields, unpack_varints

_CONTENT = 4
_STRINGS = 8

# dtype name to (field number, how its packed values are stored: a numpy type, or varints).
_VALUE_FIELDS: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "float32": (5, "<f4"),
        "float64": (6, "<f8"),
        "complex64": (9, "<c8"),
        "complex128": (12, "<c16"),
        "int64": (10, "varint"),
        "bool": (11, "varint"),
        "float16": (13, "varint"),
        "bfloat16": (13, "varint"),
        "uint32": (16, "varint"),
        "uint64": (17, "varint"),
    }
    | dict.fromkeys(("int32", "int16", "int8", "uint8", "uint16"), (7, "varint"))
    | dict.fromkeys(("qint8", "quint8", "qint16", "quint16", "qint32"), (7, "varint"))
)


def value_field(dtype: DType) -> int:
    """Return the number of the field that holds values of `dtype`, or 0 if a TensorProto has none."""
    return _VALUE_FIELDS.get(dtype.name, (0, ""))[0]


def parse_values(data: Buffer, dtype: DType, count: int, *, repeat: bool = False) -> Array:
    """Return the `count` values of a TensorProto, shape (count,), in `dtype`'s storage type.

    Args:
        data: The message.
        dtype: The element type.
        count: How many elements the tensor has.
        repeat: Where fewer values are stored, the last one stands for those that follow, and none at all
            for zeros, as tensor.proto says of constants. Checkpoints store every value.

    Raises:
        Malformed: there are more or fewer values, they do not fit the type, or the type has none here.
    """
    if dtype.name == "string":
        return _strings(data, count)
    if dtype.name not in _VALUE_FIELDS or dtype.storage is None:
        raise Malformed("v1/unsupported-dtype", f"V1 checkpoints cannot hold {dtype.name}")
    number, kind = _VALUE_FIELDS[dtype.name]
    content: Buffer | None = None
    packed: list[Buffer] = []
    for tag, value in fields(data):
        if tag == _CONTENT << 3 | LENGTH:
            content = value
        elif tag == number << 3 | LENGTH:
            packed.append(value)
        elif tag >> 3 == number:
            raise Malformed("v1/unpacked-values", "values are stored one by one, as TensorFlow never does")
    if content is not None:
        return _require_count(_from_buffer(content, dtype.storage.newbyteorder("<")), count)
    joined: Buffer = packed[0] if len(packed) == 1 else b"".join(packed)
    values = _from_varints(joined, dtype) if kind == "varint" else _from_buffer(joined, np.dtype(kind))
    if repeat and values.size < count:
        filled = np.zeros(count, values.dtype)
        filled[: values.size] = values
        filled[values.size :] = values[-1] if values.size else 0
        return filled
    return _require_count(values, count)


def _from_buffer(data: Buffer, kind: np.dtype[Any]) -> Array:
    if len(data) % kind.itemsize:
        raise Malformed("v1/ragged-values", f"{len(data)} bytes are no whole number of {kind.name}")
    return np.frombuffer(data, kind).astype(kind.newbyteorder("="))


def _from_varints(data: Buffer, dtype: DType) -> Array:
    assert dtype.storage is not None  # noqa: S101  (for the type checker: every dtype here has storage)
    values = unpack_varints(data)
    if dtype.name == "float16":
        return _narrowed(values, np.dtype(np.uint16)).view(np.float16)
    return _narrowed(values, dtype.storage)


def _narrowed(values: Array, storage: np.dtype[Any]) -> Array:
    """Convert 64-bit two's complement words, refusing values that `storage` cannot hold."""
    exact = values if storage.kind in "ub" else values.view(np.int64)
    narrow = exact.astype(storage)
    if not np.array_equal(narrow.astype(exact.dtype), exact):
        raise Malformed("v1/value-out-of-range", f"a value does not fit {storage.name}")
    return narrow


def _require_count(values: Array, count: int) -> Array:
    if values.size != count:
        raise Malformed(
            "v1/wrong-count", "the number of values does not fit the shape", expected=count, found=values.size
        )
    return values


def _strings(data: Buffer, count: int) -> Array:
    found = [bytes(value) for tag, value in fields(data) if tag == _STRINGS << 3 | LENGTH]
    strings = np.empty(len(found), object)
    strings[:] = found
    return _require_count(strings, count)
