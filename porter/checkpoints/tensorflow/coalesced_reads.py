"""Tensors that lie next to each other in a data file, read together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from porter.core.checkpoint import Array
from porter.formats.malformed import Malformed
from porter.formats.region import Region

Named = tuple[str, Region]

# What one read brings is checked and moved on while it is in the second-level cache.
_TOGETHER = 1 << 20
# Bytes between two tensors that are cheaper to read along than to ask twice for.
_GAP = 16 << 10
# The strictest alignment of any element type.
_ALIGNMENT = 16


def read_together(regions: Iterable[Named]) -> Iterator[tuple[str, Array]]:
    """Yield each tensor, checksum verified.

    Args:
        regions: Key and place of each tensor, ordered by file and offset.

    Yields:
        Key and tensor, valid until the next is asked for.

    Raises:
        CheckpointError: the bytes are missing or damaged.
    """
    room = np.empty(0, np.uint8)
    for group in _groups(regions):
        first, last = group[0][1], group[-1][1]
        size = last.offset + last.spec.nbytes - first.offset
        if room.size < size:
            room = np.empty(max(size, _TOGETHER), np.uint8)
        try:
            first.file.read_into(room[:size], first.offset)
        except (Malformed, OSError):
            # Read one by one, the error names the tensor that it concerns.
            yield from ((key, region.read()) for key, region in group)
            continue
        for key, region in group:
            start = region.offset - first.offset
            yield key, region.checked(room[start : start + region.spec.nbytes])


def _groups(regions: Iterable[Named]) -> Iterator[list[Named]]:
    """Put neighbours that one read can bring, all of them aligned, into one group."""
    group: list[Named] = []
    begin = end = 0
    for item in regions:
        region = item[1]
        stop = region.offset + region.spec.nbytes
        if group and (
            region.file is not group[0][1].file
            or region.offset - end > _GAP
            or stop - begin > _TOGETHER
            or (region.offset - begin) % min(_ALIGNMENT, region.spec.dtype.itemsize or 1)
        ):
            yield group
            group = []
        if not group:
            begin = region.offset
        group.append(item)
        end = stop
    if group:
        yield group
