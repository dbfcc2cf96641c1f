"""One contiguous run of bytes in a data file that holds a tensor of fixed-width elements."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from porter.core.checkpoint import Array, TensorSpec
from porter.core.positioned import preadv
from porter.formats.blocks import Block
from porter.formats.crc32c import combined, extend, masked
from porter.formats.files import PIECE, Bytes, RegularFile
from porter.formats.magic import naming_data
from porter.formats.malformed import Malformed

# Up to this distance between two runs it is cheaper to read what lies between than to ask twice.
_NEAR = 6 << 10


class Region:
    """A stored tensor, or one stored slice of a tensor.

    Attributes:
        file: The data file.
        offset: First byte.
        spec: Shape and dtype; the caller has checked that they fit the file.
    """

    __slots__ = ("_crc", "_swapped", "_tensor", "file", "offset", "spec")

    def __init__(
        self, file: RegularFile, offset: int, spec: TensorSpec, crc: int, tensor: str, *, swapped: bool
    ) -> None:
        self.file = file
        self.offset = offset
        self.spec = spec
        self._crc = crc
        self._tensor = tensor
        self._swapped = swapped

    def read(self) -> Array:
        """Return the whole tensor, checksum verified."""
        with naming_data(self.file.path, self._tensor):
            raw = np.empty(self.spec.nbytes, np.uint8)
            crc = 0
            for start in range(0, raw.size, PIECE):
                piece = raw[start : start + PIECE]
                self.file.read_into(piece, self.offset + start)
                crc = extend(crc, piece)
            require_checksum(crc, self._crc)
            return self._elements(raw, self.spec.shape)

    def checked(self, raw: Bytes) -> Array:
        """Return the whole tensor, whose bytes are `raw`, checksum verified; changes `raw` if swapped."""
        with naming_data(self.file.path, self._tensor):
            require_checksum(extend(0, raw), self._crc)
            return self._elements(raw, self.spec.shape)

    def read_ranges(self, axis: int, length: int) -> Iterator[Array]:
        """Yield consecutive ranges along `axis`; see `Checkpoint.read_ranges`.

        Seen as a matrix with one row for every index before `axis`, a range is a part of every row, and
        the next range begins in each row where this one ends. So every row has a checksum of its own that
        grows with the ranges, and those of all rows together give that of the tensor: one pass is enough.
        """
        shape = self.spec.shape
        rows, unit = math.prod(shape[:axis]), math.prod(shape[axis + 1 :]) * self._itemsize
        stride = shape[axis] * unit
        buffer = np.empty(rows * min(length, shape[axis]) * unit, np.uint8)
        crcs = [0] * rows
        for start in range(0, shape[axis], length):
            count = min(length, shape[axis] - start)
            raw = buffer[: rows * count * unit]
            with naming_data(self.file.path, self._tensor):
                self._fill_rows(raw.reshape(rows, -1), self.offset + start * unit, stride, crcs)
                part = self._elements(raw, (*shape[:axis], count, *shape[axis + 1 :]))
            yield part
        with naming_data(self.file.path, self._tensor):
            require_checksum(combined(crcs, stride), self._crc)

    def _fill_rows(self, raw: Array, first: int, stride: int, crcs: list[int]) -> None:
        """Read a part of every row, and continue the checksum of each row."""
        descriptor, run = self.file.descriptor, raw.shape[1]
        for number, row in enumerate(raw):
            offset = first + number * stride
            if preadv(descriptor, [row], offset) != run:
                self.file.read_into(row, offset)
            crcs[number] = extend(crcs[number], row)

    def verify(self) -> None:
        """Check the checksum, 4 MiB at a time."""
        with naming_data(self.file.path, self._tensor):
            require_checksum(checksum(self.file, self.offset, self.spec.nbytes), self._crc)

    def read_block(self, block: Block) -> Array:
        """Return the elements inside `block`, not verified."""
        shape = tuple(stop - start for start, stop in block)
        with naming_data(self.file.path, self._tensor):
            raw = np.empty(int(np.prod(shape)) * self._itemsize, np.uint8)
            if raw.size:
                self._fill(raw, block)
            return self._elements(raw, shape)

    @property
    def _itemsize(self) -> int:
        return self.spec.dtype.itemsize or 0

    def _fill(self, raw: Bytes, block: Block) -> None:
        axis = len(block)
        unit = self._itemsize
        # Axes that are wanted whole, and the one before them, form one run of bytes.
        while axis and block[axis - 1] == (0, self.spec.shape[axis - 1]):
            axis -= 1
            unit *= self.spec.shape[axis]
        if axis == 0:
            self.file.read_into(raw, self.offset)
            return
        start, stop = block[axis - 1]
        run, stride = (stop - start) * unit, self.spec.shape[axis - 1] * unit
        first = self.offset + start * unit
        if axis == 1:
            self.file.read_into(raw, first)
        elif stride - run <= _NEAR:
            self._fill_by_spans(raw.reshape(-1, run), first, stride, block[: axis - 1])
        else:
            self._fill_by_runs(raw, first, run, _row_numbers(self.spec.shape, block[: axis - 1]) * stride)

    def _fill_by_runs(self, raw: Bytes, first: int, run: int, offsets: Array) -> None:
        view, descriptor = raw.data, self.file.descriptor
        position = 0
        for offset in (offsets + first).tolist():
            stop = position + run
            if preadv(descriptor, [view[position:stop]], offset) != run:
                self.file.read_into(view[position:stop], offset)
            position = stop

    def _fill_by_spans(self, rows: Array, first: int, stride: int, outer: Block) -> None:
        begin, end = outer[-1]
        per_span = max(1, min(end - begin, PIECE // stride))
        scratch = np.empty(per_span * stride, np.uint8)
        run, position = rows.shape[1], 0
        # Spans run along the innermost outer axis; the axes before it are stepped one by one.
        starts = _row_numbers(self.spec.shape, (*outer[:-1], (begin, begin + 1)))
        for number in starts.tolist():
            for row in range(0, end - begin, per_span):
                count = min(per_span, end - begin - row)
                span = scratch[: (count - 1) * stride + run]
                self.file.read_into(span, first + (number + row) * stride)
                rows[position : position + count] = scratch[: count * stride].reshape(count, stride)[:, :run]
                position += count

    def _elements(self, raw: Bytes, shape: tuple[int, ...]) -> Array:
        storage = self.spec.dtype.storage
        if storage == np.bool_ and raw.size and raw.max() > 1:
            raise Malformed("bundle/bad-bool", "a bool is neither 0 nor 1", found=int(raw.max()))
        elements: Array = raw.view(np.dtype(storage)).reshape(shape)
        if self._swapped:
            elements.byteswap(inplace=True)
        elements.flags.writeable = False
        return elements


def _row_numbers(shape: tuple[int, ...], outer: Block) -> Array:
    """Return the row-major number of every index inside `outer`, which covers the first axes of `shape`."""
    numbers = np.zeros(1, np.int64)
    for (start, stop), length in zip(outer, shape, strict=False):
        numbers = (numbers[:, None] * length + np.arange(start, stop)).reshape(-1)
    return numbers


def checksum(file: RegularFile, offset: int, size: int, crc: int = 0) -> int:
    """Return the CRC-32C of `size` bytes at `offset`, continuing from `crc`, in 4 MiB of memory."""
    scratch = np.empty(min(size, PIECE), np.uint8)
    for start in range(0, size, PIECE):
        piece = scratch[: min(PIECE, size - start)]
        file.read_into(piece, offset + start)
        crc = extend(crc, piece)
    return crc


def require_checksum(crc: int, stored: int) -> None:
    """Compare a computed checksum with the stored, masked one.

    Raises:
        Malformed: they differ.
    """
    if masked(crc) != stored:
        raise Malformed(
            "bundle/bad-checksum",
            "the stored checksum does not match the bytes",
            expected=f"{stored:08x}",
            found=f"{masked(crc):08x}",
            hint="The file is damaged: get it again.",
        )
