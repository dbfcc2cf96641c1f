"""Constants of a graph as they are stored, dequantised, or known without being stored.

Source of the arithmetic: tensorflow/core/kernels/{dequantize_op.cc,quantization_utils.h}.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from porter.checkpoints.tensorflow.tensor_protos import parse_values
from porter.core.checkpoint import Array, TensorSpec, contiguous
from porter.core.dtypes import BY_NAME
from porter.formats.blocks import part_of, resolve_block
from porter.formats.files import RegularFile
from porter.formats.malformed import Malformed
from porter.formats.protobuf_file import Place
from porter.formats.region import Region

FLOAT32 = BY_NAME["float32"]
_NO_CHECKSUM = 0


class Constant(NamedTuple):
    """A constant's spec, its message, and where its elements lie where they are stored one by one."""

    spec: TensorSpec
    message: Place
    elements: Place | None

    def read_block(self, file: RegularFile, key: str, block: tuple[slice, ...]) -> Array:
        """Return a rectangular part of it, C-contiguous and read-only."""
        wanted = resolve_block(block, self.spec.shape)
        if self.elements is not None:
            region = Region(file, self.elements.start, self.spec, _NO_CHECKSUM, key, swapped=False)
            return region.read_block(wanted)
        data = file.read(self.message.start, self.message.size)
        values = parse_values(memoryview(data), self.spec.dtype, self.spec.size, repeat=True)
        return contiguous(part_of(values.reshape(self.spec.shape), block))

    def verify(self, file: RegularFile) -> None:
        """Read the last byte: a GraphDef has no checksums, but the file may have become shorter."""
        file.read(self.message.stop - 1, 1)


class Dequantised(NamedTuple):
    """A constant of 8, 16 or 32 bits with the range that its words stand for, as float32.

    Attributes:
        words: The stored constant.
        low: What the lowest word stands for.
        high: What the highest word stands for.
        mode: ``"MIN_FIRST"`` or ``"MIN_COMBINED"``: which of TensorFlow's definitions holds.
    """

    words: Constant
    low: float
    high: float
    mode: str

    @property
    def spec(self) -> TensorSpec:
        """Its shape, and that it is float32."""
        return TensorSpec(FLOAT32, self.words.spec.shape)

    def read_block(self, file: RegularFile, key: str, block: tuple[slice, ...]) -> Array:
        """Return a rectangular part of it, C-contiguous and read-only."""
        return contiguous(
            dequantised(self.words.read_block(file, key, block), self.low, self.high, self.mode)
        )

    def verify(self, file: RegularFile) -> None:
        """Read the last byte."""
        self.words.verify(file)


class Filled(NamedTuple):
    """What the graph does not store because it is the same everywhere: the factor 1 of a folded norm."""

    spec: TensorSpec
    value: float

    def read_block(self, file: RegularFile, key: str, block: tuple[slice, ...]) -> Array:  # noqa: ARG002
        """Return a rectangular part of it, read-only; nothing is read."""
        shape = tuple(stop - start for start, stop in resolve_block(block, self.spec.shape))
        return contiguous(np.full(shape, self.value, np.float32))

    def verify(self, file: RegularFile) -> None:
        """There is nothing to check."""


GraphTensor = Constant | Dequantised | Filled


def dequantised(words: Array, low: float, high: float, mode: str) -> Array:
    """Return what quantised words stand for, float32, to the bit what TensorFlow's Dequantize computes.

    Args:
        words: Integers of any shape.
        low: The range's lower end, a float32.
        high: Its upper end.
        mode: ``"MIN_FIRST"`` or ``"MIN_COMBINED"``.

    Raises:
        Malformed: the mode is another.
    """
    limits = np.iinfo(words.dtype)
    first, last = np.float32(low), np.float32(high)
    if mode == "MIN_FIRST":
        # TensorFlow divides in float64 and keeps the step as float32.
        step = np.float32(np.float64(last - first) / (2.0**limits.bits - 1.0))
        quotient = np.float32(first / step) if step else np.float32(0)
        # C's round() takes halves away from zero, numpy's to even numbers.
        rounded = np.copysign(np.floor(np.abs(quotient) + np.float32(0.5)), quotient)
        base = first if last == first else np.float32(rounded * step)
        # The lowest word is taken off behind the product, which rounds otherwise than before it.
        return words.astype(np.float32) * step + (base - np.float32(limits.min) * step)
    if mode == "MIN_COMBINED":
        step = np.float32((last - first) / np.float32(limits.max - limits.min))
        half = np.float32((limits.max - limits.min + 1) / 2 if limits.min < 0 else 0)
        return (words.astype(np.float32) + half) * step + first
    raise Malformed(
        "graphdef/unknown-quantisation",
        "this 8-bit graph dequantises in a way that is not read",
        expected="MIN_FIRST or MIN_COMBINED",
        found=mode,
        hint="Freeze the graph again without quantize_weights, and port that.",
    )
