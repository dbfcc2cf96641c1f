"""A TensorFlow Lite model's tables as plain records.

Source of the field numbers: tensorflow/lite/schema/schema.fbs (schema version 3).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from porter.errors import printable
from porter.formats.flatbuffer import FlatBuffer, Table
from porter.formats.malformed import Malformed

IDENTIFIER = b"TFL3"
MISSING = -1
"""Number of an input that an operator leaves out."""

_VERSION = 3
_MOST = 200_000
_OLD_CODES = 127  # up to here the operator's code stands in the older field


class Quantisation(NamedTuple):
    """How stored integers stand for numbers: scale * (q - zero_point), along one axis or for all.

    Attributes:
        scale: float32, one, or one for each index along `axis`.
        zero_point: int64, likewise.
        axis: The axis.
    """

    scale: NDArray[Any]
    zero_point: NDArray[Any]
    axis: int


class Tensor(NamedTuple):
    """A tensor of the graph.

    Attributes:
        name: Its name, which nothing makes unique.
        shape: Its shape.
        type: Number of its element type in the schema.
        buffer: First byte and length of its values in the file; a length of 0 if it is computed.
        quantisation: How integers stand for numbers, or None.
        is_sparse: Whether zeros are left out of its values.
    """

    name: str
    shape: tuple[int, ...]
    type: int
    buffer: tuple[int, int]
    quantisation: Quantisation | None
    is_sparse: bool

    @property
    def is_constant(self) -> bool:
        """Whether its values are stored."""
        return self.buffer[1] > 0


class Operator(NamedTuple):
    """An operator of the graph.

    Attributes:
        code: Its number in the schema.
        custom: Its name if it is none of the schema's.
        inputs: Tensors that it takes; `MISSING` for one that is left out.
        outputs: Tensors that it makes.
        options: Its options, or None.
    """

    code: int
    custom: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Table | None


class Model(NamedTuple):
    """What a file holds.

    Attributes:
        description: Who made it.
        tensors: Those of the main graph.
        operators: In order of execution.
        inputs: Tensors that the network takes.
        outputs: Tensors that it returns.
        metadata: First byte and length of each further buffer, by name.
    """

    description: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    metadata: dict[str, tuple[int, int]]


def read_model(data: bytes) -> Model:
    """Return what a file holds; values of tensors are only located.

    Raises:
        Malformed: the file is damaged, or of a version that does not exist.
    """
    buffer = FlatBuffer(data, IDENTIFIER)
    root = buffer.root
    version = root.number(0, "I")
    if version != _VERSION:
        raise Malformed("tflite/version", "the schema's version is unknown", expected=_VERSION, found=version)
    runs = [_run(buffer, table) for table in root.tables(4)]
    graphs = root.tables(2)
    if not graphs:
        raise Malformed("tflite/no-graph", "the model has no graph")
    codes = [(_code(table), printable(table.text(1))) for table in root.tables(1)]
    graph = graphs[0]
    tensors = tuple(_tensor(table, runs) for table in _limited(graph.tables(0), "tensors"))
    operators = tuple(
        _operator(table, codes, len(tensors)) for table in _limited(graph.tables(3), "operators")
    )
    inputs, outputs = (_places(graph.numbers(field, "int32"), len(tensors)) for field in (1, 2))
    metadata = {}
    for table in root.tables(6):
        number = table.number(1, "I")
        if number < len(runs):
            metadata[table.text(0)] = runs[number]
    return Model(printable(root.text(3)), tensors, operators, inputs, outputs, metadata)


def _limited(tables: list[Table], what: str) -> list[Table]:
    if len(tables) > _MOST:
        raise Malformed("tflite/too-many", f"the graph has more than {_MOST} {what}", found=len(tables))
    return tables


def _run(buffer: FlatBuffer, table: Table) -> tuple[int, int]:
    """Return where a buffer's bytes are: in the FlatBuffer, or behind it in files above 2 GB."""
    start, size = table.number(1, "Q"), table.number(2, "Q")
    if start > 1 and size:
        buffer.require(start, size)
        return start, size
    return table.run(0)


def _code(table: Table) -> int:
    old, new = table.number(0, "b"), table.number(3, "i")
    return int(new if old >= _OLD_CODES else max(old, new))


def _tensor(table: Table, runs: list[tuple[int, int]]) -> Tensor:
    shape = tuple(table.numbers(0, "int32").tolist())
    name = printable(table.text(3))
    number = table.number(2, "I")
    if number >= len(runs) and number:
        raise Malformed("tflite/buffer", f"{name} has a buffer that does not exist", found=number)
    if any(length < 0 for length in shape):
        raise Malformed("tflite/shape", f"{name} has an impossible shape", found=shape)
    return Tensor(
        name,
        shape,
        table.number(1, "b"),
        runs[number] if number < len(runs) else (0, 0),
        _quantisation(table.table(4)),
        table.table(6) is not None,
    )


def _quantisation(table: Table | None) -> Quantisation | None:
    if table is None:
        return None
    scale, zero_point = table.numbers(2, "float32"), table.numbers(3, "int64")
    if not scale.size:
        return None
    zero_point = zero_point if zero_point.size else np.zeros(scale.size, np.int64)
    return Quantisation(scale, zero_point, table.number(6, "i"))


def _operator(table: Table, codes: list[tuple[int, str]], tensors: int) -> Operator:
    number = table.number(0, "I")
    if number >= len(codes):
        raise Malformed("tflite/operator", "an operator's code is not listed", found=number)
    code, custom = codes[number]
    inputs = _places(table.numbers(1, "int32"), tensors, MISSING)
    return Operator(code, custom, inputs, _places(table.numbers(2, "int32"), tensors), table.table(4))


def _places(numbers: NDArray[Any], tensors: int, least: int = 0) -> tuple[int, ...]:
    if numbers.size and (numbers.min() < least or numbers.max() >= tensors):
        raise Malformed(
            "tflite/tensor",
            "a tensor is named that does not exist",
            expected=f"below {tensors}",
            found=numbers.max(),
        )
    return tuple(numbers.tolist())
