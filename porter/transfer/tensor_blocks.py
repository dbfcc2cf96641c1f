"""Reading one stored variable in the order of its target tensor, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from porter.core.assignments import StoredPart
from porter.core.checkpoint import Array, Checkpoint
from porter.core.layouts import Layout
from porter.transfer.transposition import copy_rearranged

# Variables up to this many bytes are read whole, which costs least; larger ones in ranges of BLOCK_BYTES. A
# range of a transposed matrix takes a few kilobytes from every row, so that larger ranges mean fewer reads.
WHOLE_BYTES = 8 << 20
BLOCK_BYTES = 32 << 20
# What was read is rearranged in pieces of this size: not held in memory twice, and small enough to be
# checked and written while it is in the second-level cache.
PIECE_BYTES = 1 << 20
_SHORTEST_RUN = 512


class BlockReader:
    """Reads variables of one checkpoint in the order of their targets."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        # One buffer for all variables: fresh memory for each would cost more than the copying.
        self._room = np.empty(PIECE_BYTES, np.uint8)

    def blocks(self, part: StoredPart) -> Iterator[Array]:
        """Yield the elements of `part` in target order.

        Args:
            part: The variable and its layout change.

        Yields:
            C-contiguous arrays of storage words; only their order means anything, not their shape. Each
            is valid until the next is asked for. The checksum of a large variable is known only when the
            iteration ends.

        Raises:
            CheckpointError: the bytes are missing or damaged.
        """
        if is_small(part):
            yield from self.rearranged(part, self._checkpoint.read(part.key))
        elif part.layout.splits:
            yield from self._split_blocks(part)
        elif part.selection is None and (cut := _cut(part)) is not None:
            axes = target_axes(part.layout)
            for stored in self._checkpoint.read_ranges(part.key, *cut):
                yield from self._contiguous(stored.transpose(axes))
        else:
            yield from self._verified_blocks(part)

    def rearranged(self, part: StoredPart, whole: Array) -> Iterator[Array]:
        """Yield the elements of `part`, which was read `whole`, as `blocks` does."""
        taken = whole if part.selection is None else whole[part.selection]
        if part.layout.splits:
            return iter([np.ascontiguousarray(part.layout.apply(taken))])
        return self._contiguous(taken.transpose(target_axes(part.layout)))

    def _split_blocks(self, part: StoredPart) -> Iterator[Array]:
        """Read ranges along the axis that leads the target: each is split and rearranged by itself."""
        axis = part.layout.source.index((part.layout.target[0][0],))
        shape = part.selected_shape
        unit = part.spec.nbytes // shape[axis]
        count = max(1, BLOCK_BYTES // unit)
        self._checkpoint.verify(part.key)
        for start in range(0, shape[axis], count):
            wanted = [slice(0, length) for length in shape]
            wanted[axis] = slice(start, min(start + count, shape[axis]))
            yield np.ascontiguousarray(part.layout.apply(self._read_block(part, tuple(wanted))))

    def _verified_blocks(self, part: StoredPart) -> Iterator[Array]:
        """Read block by block in target order, after a pass over the whole that verifies it."""
        self._checkpoint.verify(part.key)
        axes = target_axes(part.layout)
        selected = part.selected_shape
        shape = tuple(selected[axis] for axis in axes)
        for block in _blocks(shape, BLOCK_BYTES // (part.spec.dtype.itemsize or 1)):
            wanted = tuple(block[axes.index(axis)] for axis in range(len(axes)))
            yield from self._contiguous(self._read_block(part, wanted).transpose(axes))

    def _read_block(self, part: StoredPart, wanted: tuple[slice, ...]) -> Array:
        """Read the block `wanted` of what is selected of `part`."""
        if part.selection is None:
            return self._checkpoint.read_block(part.key, wanted)
        rows = [
            range(*taken.indices(length))[block]
            for taken, length, block in zip(part.selection, part.spec.shape, wanted, strict=True)
        ]
        stored = self._checkpoint.read_block(part.key, tuple(slice(min(r), max(r) + 1) for r in rows))
        return stored[tuple(slice(None, None, r.step) for r in rows)]

    def _contiguous(self, view: Array) -> Iterator[Array]:
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


def is_small(part: StoredPart) -> bool:
    """Whether the variable is read whole."""
    return part.spec.nbytes <= WHOLE_BYTES


def _cut(part: StoredPart) -> tuple[int, int] | None:
    """Return the axis whose ranges follow each other in the target, and how many of its steps fit a block.

    None if not even one fits, or if a range would take so little of every row that reading it costs
    more than a second pass.
    """
    shape = part.spec.shape
    axes = [axis for axis in target_axes(part.layout) if shape[axis] > 1]
    axis = axes[0]
    unit = math.prod(shape[axis + 1 :]) * (part.spec.dtype.itemsize or 1)
    rows = math.prod(shape[:axis])
    # Ranges of a single row are read at one go whatever their size: then small ones, which stay in the cache.
    count = min((PIECE_BYTES if rows == 1 else BLOCK_BYTES) // (rows * unit), shape[axis])
    if count == 0 or (rows > 1 and count < shape[axis] and count * unit < _SHORTEST_RUN):
        return None
    return axis, count


@lru_cache(maxsize=256)
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
