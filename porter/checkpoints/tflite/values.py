"""The numbers that a constant tensor stands for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from porter.checkpoints.tflite.schema import Tensor
from porter.formats.malformed import Malformed

# Element types by their number in the schema.
_TYPES = {
    0: "float32",
    1: "float16",
    2: "int32",
    3: "uint8",
    4: "int64",
    7: "int16",
    9: "int8",
    10: "float64",
}
_NAMES = {5: "string", 6: "bool", 8: "complex64", 17: "int4", 18: "bfloat16"}
_FLOATS = ("float32", "float16", "float64")

Array = NDArray[Any]


def type_name(tensor: Tensor) -> str:
    """Return what the schema calls a tensor's element type."""
    return _TYPES.get(tensor.type) or _NAMES.get(tensor.type, f"type {tensor.type}")


def require_readable(tensor: Tensor) -> None:
    """Refuse a constant whose numbers cannot be told, without reading them.

    Raises:
        Malformed: it is sparse, of a type that is not read, shorter or longer than its shape says, or its
            scales do not fit its shape.
    """
    dtype = _TYPES.get(tensor.type)
    if tensor.is_sparse:
        raise Malformed(
            "tflite/sparse",
            "a weight is stored sparse, with its zeros left out",
            found=tensor.name,
            hint="Convert the model again without tf.lite.Optimize.EXPERIMENTAL_SPARSITY.",
        )
    if dtype is None:
        raise Malformed(
            "tflite/type",
            f"{tensor.name} has an element type that is not read",
            expected=", ".join(_TYPES.values()),
            found=type_name(tensor),
        )
    wanted = math.prod(tensor.shape) * np.dtype(dtype).itemsize
    if tensor.buffer[1] != wanted:
        raise Malformed(
            "tflite/length",
            f"{tensor.name} has another length than its shape {tensor.shape} of {dtype} says",
            expected=f"{wanted} bytes",
            found=tensor.buffer[1],
        )
    if dtype not in _FLOATS:
        _require_scales(tensor)


def _require_scales(tensor: Tensor) -> None:
    known = tensor.quantisation
    if known is None:
        return
    count = known.scale.size
    along = tensor.shape[known.axis] if 0 <= known.axis < len(tensor.shape) else -1
    if count not in (1, along) or known.zero_point.size not in (1, count):
        raise Malformed(
            "tflite/scales",
            f"{tensor.name} has {count} scales along axis {known.axis}, which do not fit its shape",
            found=tensor.shape,
        )
    if not (np.isfinite(known.scale).all() and (known.scale >= 0).all()):
        raise Malformed("tflite/scales", f"{tensor.name} has a scale that is negative or not finite")


def stored_values(data: bytes, tensor: Tensor) -> Array:
    """Return a constant's elements as they are stored, in its own shape.

    Raises:
        Malformed: as for `require_readable`.
    """
    require_readable(tensor)
    start, _ = tensor.buffer
    form = np.dtype(_TYPES[tensor.type]).newbyteorder("<")
    return np.frombuffer(data, form, math.prod(tensor.shape), start).reshape(tensor.shape)


def numbers(data: bytes, tensor: Tensor) -> Array:
    """Return what a constant stands for: float32, computed as the interpreter's DEQUANTIZE does.

    scale * (q - zero_point) is one product of two float32 for 8-bit integers, so that rounding once from
    float64 gives the same number. A bias of 32 bits can exceed what float32 holds exactly: there too it is
    rounded once.

    Raises:
        Malformed: as for `require_readable`, or integers without a scale are to be numbers.
    """
    stored = stored_values(data, tensor)
    if stored.dtype.kind == "f":
        return stored.astype(np.float32)
    known = tensor.quantisation
    if known is None:
        raise Malformed("tflite/no-scale", f"{tensor.name} holds integers without a scale")
    shape = [1] * stored.ndim
    if known.scale.size > 1:
        shape[known.axis] = known.scale.size
    scale = known.scale.astype(np.float64).reshape(shape)
    zero_point = np.broadcast_to(known.zero_point, known.scale.shape).astype(np.float64).reshape(shape)
    with np.errstate(over="ignore"):
        return np.asarray((scale * (stored - zero_point)).reshape(stored.shape), np.float32)
