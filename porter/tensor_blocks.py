"""Reading one stored variable in the order of its target tensor, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from porter.assignments import Part
from porter.layouts import Layout
from porter.tensors import Array, Checkpoint
from porter.transposition import copy_rearranged

# Variables up to this many bytes are read whole, which costs least; larger ones in blocks of BLOCK_BYTES. A
# block of a transposed matrix takes a few kilobytes from every row, so that larger blocks mean fewer reads.
WHOLE_BYTES = 8 << 20
BLOCK_BYTES = 24 << 20
# What was read is rearranged in pieces of this size: not held in memory twice, and small enough to be
# checked and written while it is in the second-level cache.
PIECE_BYTES = 1 << 20


class BlockReader:
    """Reads variables of one checkpoint in the order of their targets."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        # One buffer for all variables: fresh memory for each would cost more than the copying.
        self._room = np.empty(PIECE_BYTES, np.uint8)

    def blocks(self, part: Part) -> Iterator[Array]:
        """Yield the elements of `part` in target order, its checksum verified before the first block.

        Args:
            part: The variable and its layout change.

        Yields:
            C-contiguous arrays of storage words; only their order means anything, not their shape. Each
            is valid until the next is asked for.

        Raises:
            CheckpointError: the bytes are missing or damaged.
        """
        axes = target_axes(part.layout)
        if part.spec.nbytes <= WHOLE_BYTES:
            whole = self._checkpoint.read(part.key)
            taken = whole if part.selection is None else whole[part.selection]
            yield from self._rearranged(taken.transpose(axes))
            return
        self._checkpoint.verify(part.key)
        selected = part.selected_shape
        shape = tuple(selected[axis] for axis in axes)
        for block in _blocks(shape, BLOCK_BYTES // (part.spec.dtype.itemsize or 1)):
            wanted = tuple(block[axes.index(axis)] for axis in range(len(axes)))
            yield from self._rearranged(self._read_block(part, wanted).transpose(axes))

    def _read_block(self, part: Part, wanted: tuple[slice, ...]) -> Array:
        """Read the block `wanted` of what is selected of `part`."""
        if part.selection is None:
            return self._checkpoint.read_block(part.key, wanted)
        rows = [
            range(*taken.indices(length))[block]
            for taken, length, block in zip(part.selection, part.spec.shape, wanted, strict=True)
        ]
        stored = self._checkpoint.read_block(part.key, tuple(slice(min(r), max(r) + 1) for r in rows))
        return stored[tuple(slice(None, None, r.step) for r in rows)]

    def _rearranged(self, view: Array) -> Iterator[Array]:
        """Yield the elements of `view` in its own order, in contiguous pieces."""
        if view.flags.c_contiguous or view.size == 0:
            yield view
            return
        limit = self._room.size // view.itemsize
        for block in _blocks(view.shape, limit):
            piece = view[block]
            target = self._room[: piece.nbytes].view(view.dtype).reshape(piece.shape)
            copy_rearranged(piece, target)
            yield target


def target_axes(layout: Layout) -> tuple[int, ...]:
    """Return the source axes in target order, axes of length one that have no name last.

    Merged axes stay apart, for merging changes no byte.
    """
    named = {group[0]: axis for axis, group in enumerate(layout.source) if group}
    ones = (axis for axis, group in enumerate(layout.source) if not group)
    return (*(named[name] for group in layout.target for name in group), *ones)


def _blocks(shape: tuple[int, ...], limit: int) -> Iterator[tuple[slice, ...]]:
    """Cut `shape` into blocks of at most `limit` elements that follow each other in row-major order.

    A scalar, which is always read whole, cannot be cut.
    """
    axis = 0
    while math.prod(shape[axis + 1 :]) > limit:
        axis += 1
    step = max(1, limit // max(1, math.prod(shape[axis + 1 :])))
    whole = tuple(slice(0, length) for length in shape[axis + 1 :])
    for index in np.ndindex(shape[:axis]):
        single = tuple(slice(i, i + 1) for i in index)
        for start in range(0, shape[axis], step):
            yield (*single, slice(start, min(start + step, shape[axis])), *whole)
