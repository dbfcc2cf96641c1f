"""Tensors stored in pieces: partitioned variables, and shards that each hold some rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from porter.core.checkpoint import Array
from porter.formats.blocks import Block
from porter.formats.malformed import Malformed
from porter.formats.ordered_code import FULL, Extents

# Boxes that no straight cut separates are compared pair by pair, up to this many at a time.
_MOST_TANGLED = 2048


def resolve(extents: Extents, shape: tuple[int, ...]) -> Block:
    """Return start and stop per axis of one stored slice.

    Raises:
        Malformed: it has another number of axes, or reaches outside the tensor.
    """
    if len(extents) != len(shape):
        raise Malformed(
            "slice/wrong-rank",
            "a slice has another number of axes than its tensor",
            expected=len(shape),
            found=len(extents),
        )
    box = tuple(
        (start, size if length == FULL else start + length)
        for (start, length), size in zip(extents, shape, strict=True)
    )
    if any(stop > size for (_, stop), size in zip(box, shape, strict=True)):
        raise Malformed(
            "slice/outside-tensor", "a slice reaches outside its tensor", expected=shape, found=box
        )
    return box


def box_shape(box: Block) -> tuple[int, ...]:
    """Return the shape of the elements inside `box`."""
    return tuple(stop - start for start, stop in box)


def require_cover(boxes: Sequence[Block], shape: tuple[int, ...]) -> None:
    """Check that the boxes hold every element of a tensor of `shape` exactly once.

    Raises:
        Malformed: two overlap, or elements are missing.
    """
    _require_disjoint(np.array(boxes, np.int64).reshape(len(boxes), len(shape), 2))
    stored, wanted = sum(math.prod(box_shape(box)) for box in boxes), math.prod(shape)
    if stored != wanted:
        raise Malformed(
            "slice/hole",
            "the stored slices leave elements out",
            expected=f"{wanted} elements",
            found=stored,
        )


def _require_disjoint(boxes: Array) -> None:
    """Cut the boxes apart axis by axis, as partitions are; shape (count, axes, start and stop)."""
    pending = [boxes]
    while pending:
        group = pending.pop()
        if len(group) < 2:
            continue
        parts = next((cut for axis in range(group.shape[1]) if len(cut := _cut(group, axis)) > 1), None)
        if parts is None:
            _require_disjoint_pairs(group)
        else:
            pending += parts


def _cut(boxes: Array, axis: int) -> list[Array]:
    """Split into groups that share no position on `axis`."""
    ordered = boxes[np.argsort(boxes[:, axis, 0], kind="stable")]
    reach = np.maximum.accumulate(ordered[:, axis, 1])
    cuts = np.flatnonzero(ordered[1:, axis, 0] >= reach[:-1]) + 1
    return np.split(ordered, cuts)


def _require_disjoint_pairs(boxes: Array) -> None:
    if len(boxes) > _MOST_TANGLED:
        raise Malformed("slice/tangled", "slices are laid out as no partitioner does", found=len(boxes))
    for number in range(1, len(boxes)):
        box, others = boxes[number], boxes[:number]
        meets = (others[:, :, 0] < box[:, 1]) & (box[:, 0] < others[:, :, 1])
        if meets.all(axis=1).any():
            raise Malformed("slice/overlap", "two stored slices hold the same element", found=box.tolist())


def intersect(box: Block, wanted: Block) -> tuple[Block, tuple[slice, ...]] | None:
    """Return what of `wanted` lies in `box`: relative to `box`, and as a place in the result; or None."""
    shared = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(box, wanted, strict=True)]
    if any(start >= stop for start, stop in shared):
        return None
    inside = tuple((a - c, b - c) for (a, b), (c, _) in zip(shared, box, strict=True))
    place = tuple(slice(a - c, b - c) for (a, b), (c, _) in zip(shared, wanted, strict=True))
    return inside, place
