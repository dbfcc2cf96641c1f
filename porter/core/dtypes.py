"""Every element type that TensorFlow writes, and what numpy and safetensors call it."""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

import numpy as np


class DType(NamedTuple):
    """An element type.

    Attributes:
        name: TensorFlow's own name for it, e.g. ``"bfloat16"``.
        number: Its value in TensorFlow's ``DataType`` enum (types.proto).
        storage: The numpy dtype whose words hold the elements, in native byte order. Types that numpy
            lacks are held as unsigned words of the same width (bfloat16 as uint16, float8 and int4 as
            uint8). None for strings (numpy object arrays of bytes) and for types that are not data.
        safetensors: The safetensors dtype tag, or None if that format has none.
    """

    name: str
    number: int
    storage: np.dtype[np.generic] | None
    safetensors: str | None = None

    @property
    def itemsize(self) -> int | None:
        """Bytes per stored element; None for strings and non-data types."""
        return None if self.storage is None else self.storage.itemsize

    @property
    def is_float(self) -> bool:
        """Whether values are real floating-point numbers of any width."""
        return self.name in ("float16", "float32", "float64") or self.name.startswith(("bfloat", "float8"))

    @property
    def is_quantised(self) -> bool:
        """Whether values are meaningless without a scale that a checkpoint does not hold."""
        return self.name.startswith(("qint", "quint"))


def _dtype(name: str, number: int, storage: str | None, safetensors: str | None = None) -> DType:
    return DType(name, number, None if storage is None else np.dtype(storage), safetensors)


# Numbers and names: tensorflow/core/framework/types.proto. INT4 and friends occupy one byte per element.
_ALL = (
    _dtype("float32", 1, "float32", "F32"),
    _dtype("float64", 2, "float64", "F64"),
    _dtype("int32", 3, "int32", "I32"),
    _dtype("uint8", 4, "uint8", "U8"),
    _dtype("int16", 5, "int16", "I16"),
    _dtype("int8", 6, "int8", "I8"),
    _dtype("string", 7, None),
    _dtype("complex64", 8, "complex64", "C64"),
    _dtype("int64", 9, "int64", "I64"),
    _dtype("bool", 10, "bool", "BOOL"),
    _dtype("qint8", 11, "int8"),
    _dtype("quint8", 12, "uint8"),
    _dtype("qint32", 13, "int32"),
    _dtype("bfloat16", 14, "uint16", "BF16"),
    _dtype("qint16", 15, "int16"),
    _dtype("quint16", 16, "uint16"),
    _dtype("uint16", 17, "uint16", "U16"),
    _dtype("complex128", 18, "complex128"),
    _dtype("float16", 19, "float16", "F16"),
    _dtype("resource", 20, None),
    _dtype("variant", 21, None),
    _dtype("uint32", 22, "uint32", "U32"),
    _dtype("uint64", 23, "uint64", "U64"),
    _dtype("float8_e5m2", 24, "uint8", "F8_E5M2"),
    _dtype("float8_e4m3fn", 25, "uint8", "F8_E4M3"),
    _dtype("float8_e4m3fnuz", 26, "uint8"),
    _dtype("float8_e4m3b11fnuz", 27, "uint8"),
    _dtype("float8_e5m2fnuz", 28, "uint8"),
    _dtype("int4", 29, "int8"),
    _dtype("uint4", 30, "uint8"),
    _dtype("int2", 31, "int8"),
    _dtype("uint2", 32, "uint8"),
)

BY_NUMBER = MappingProxyType({d.number: d for d in _ALL})
BY_NAME = MappingProxyType({d.name: d for d in _ALL})
