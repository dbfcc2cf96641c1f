"""Rectangular parts of tensors, as start and stop per axis."""

from __future__ import annotations

from porter.core.checkpoint import Array

Block = tuple[tuple[int, int], ...]
"""Start and stop per axis."""


def part_of(array: Array, block: tuple[slice, ...]) -> Array:
    """Return `array[block]`, and an array of no axes if numpy would give its element."""
    part: Array = array[block] if block else array[...]
    return part


def resolve_block(block: tuple[slice, ...], shape: tuple[int, ...]) -> Block:
    """Return start and stop per axis of `block`.

    Raises:
        ValueError: `block` has another number of axes than `shape`, or a step other than 1.
    """
    if len(block) != len(shape) or any(part.step not in (None, 1) for part in block):
        raise ValueError(f"a block of {len(shape)} slices with step 1 is needed, not {block}")
    bounds = (part.indices(size) for part, size in zip(block, shape, strict=True))
    return tuple((start, max(start, stop)) for start, stop, _ in bounds)
