"""Reading one stored variable in the order of its target tensor, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from porter.assignments import Part
from porter.layouts import Layout
from porter.tensors import Array, Checkpoint
from porter.transposition import copy_rearranged

# Variables up to this many bytes are read whole, which costs least; larger ones go block by block, so that
# neither a copy nor its transposition is ever larger than BLOCK_BYTES.
WHOLE_BYTES = 8 << 20
BLOCK_BYTES = 8 << 20


def rearranged_blocks(checkpoint: Checkpoint, part: Part) -> Iterator[Array]:
    """Yield the elements of `part` in target order, its checksum verified before the first block.

    Args:
        checkpoint: The open source.
        part: The variable and its layout change.

    Yields:
        C-contiguous arrays of storage words; only their order means anything, not their shape. Each is
        valid until the next is asked for.

    Raises:
        CheckpointError: the bytes are missing or damaged.
    """
    axes = target_axes(part.layout)
    if part.spec.nbytes <= WHOLE_BYTES:
        view = checkpoint.read(part.key).transpose(axes)
        yield _rearranged(view, np.empty(0 if view.flags.c_contiguous else view.size, view.dtype))
        return
    checkpoint.verify(part.key)
    shape = tuple(part.spec.shape[axis] for axis in axes)
    room = np.empty(0, part.spec.dtype.storage)
    for block in _blocks(shape, max(1, BLOCK_BYTES // (part.spec.dtype.itemsize or 1))):
        wanted = tuple(block[axes.index(axis)] for axis in range(len(axes)))
        view = checkpoint.read_block(part.key, wanted).transpose(axes)
        if not view.flags.c_contiguous and room.size < view.size:
            room = np.empty(view.size, view.dtype)
        yield _rearranged(view, room)


def _rearranged(view: Array, room: Array) -> Array:
    if view.flags.c_contiguous:
        return view
    target = room[: view.size].reshape(view.shape)
    copy_rearranged(view, target)
    return target


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
