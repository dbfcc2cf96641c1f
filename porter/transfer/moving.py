"""Moving the values of a plan from a checkpoint to a writer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from porter.core.assignments import Assignment, StoredPart
from porter.core.checkpoint import Array, Checkpoint
from porter.core.dtypes import BY_NAME, DType
from porter.transfer.float_conversion import convert, converted_dtype
from porter.transfer.tensor_blocks import BlockReader, is_small
from porter.transfer.value_checks import SuspectValues, ValueChecks

# Elements that are checked, converted and written together while they are in the second-level cache.
_CHUNK = 1 << 18

Progress = Callable[[int, int], None]


class Writer(Protocol):
    """What tensors are written with; `SafetensorsWriter` says what each does."""

    names: tuple[str, ...]
    nbytes: int

    def write(self, name: str, block: Array) -> None:
        """Append `block` to tensor `name`."""

    def replace_metadata(self, metadata: Mapping[str, str]) -> None:
        """Rewrite the header with other metadata of the same length."""

    def commit(self) -> None:
        """Give what was written its name."""

    def __enter__(self) -> Self:
        """Return self; leaving the block without `commit` drops what was written."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop what was not committed."""


class Mover:
    """Moves assignments from a checkpoint to a writer."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        writer: Writer,
        wanted: DType | None,
        progress: Progress | None,
    ) -> None:
        self._checkpoint = checkpoint
        self._writer = writer
        self._wanted = wanted
        self._progress = progress
        self._written = 0

    def move(self, assignments: Sequence[Assignment]) -> tuple[SuspectValues, ...]:
        """Write every target tensor and return what was found in them, in file order.

        Small variables that go into a target as they are, which is nearly all of a network, are taken in
        the order in which they are stored; the writer does not care.
        """
        simple: dict[str, list[Assignment]] = {}
        others = []
        for item in assignments:
            if len(item.parts) == 1 and not item.subtract and is_small(item.parts[0]):
                simple.setdefault(item.parts[0].key, []).append(item)
            else:
                others.append(item)
        found: dict[str, Sequence[SuspectValues]] = {}
        reader = BlockReader(self._checkpoint)
        for key, array in self._checkpoint.read_each(simple):
            for item in simple[key]:
                part = item.parts[0]
                found[item.target] = self._move(reader, item, ((part, reader.rearranged(part, array)),))
        for item in others:
            if item.constant is not None:
                self._write(item.target, np.array([item.constant], np.int64))
            elif item.fill is not None:
                self._fill(item, item.fill)
            else:
                parts = [(part, reader.blocks(part)) for part in item.parts]
                found[item.target] = self._move(reader, item, parts)
        return tuple(finding for name in self._writer.names for finding in found.get(name, ()))

    def _move(
        self, reader: BlockReader, item: Assignment, parts: Iterable[tuple[StoredPart, Iterator[Array]]]
    ) -> Sequence[SuspectValues]:
        """Write one target tensor from the blocks of its parts."""
        checks = ValueChecks(item.target, item.shape, is_variance=item.is_variance)
        subtracted = _subtracted(reader, item, checks)
        offset: float | NDArray[np.float64] = item.offset
        position = 0
        for part, blocks in parts:
            for block in blocks:
                words = block.reshape(-1)
                for start in range(0, words.size, _CHUNK):
                    chunk = words[start : start + _CHUNK]
                    if subtracted is not None:
                        begin = position + start
                        offset = item.offset - subtracted[begin : begin + chunk.size]
                    self._move_chunk(item, part, chunk, offset, checks, position + start)
                position += words.size
        return checks.findings()

    def _move_chunk(
        self,
        item: Assignment,
        part: StoredPart,
        words: Array,
        offset: float | NDArray[np.float64],
        checks: ValueChecks,
        position: int,
    ) -> None:
        source = part.spec.dtype
        checks.stored(words, source, position)
        target = converted_dtype(source, self._wanted)
        result = convert(words, source, target, scale=part.scale, offset=offset)
        if result is not words:
            checks.converted(result, target, words, source, position)
        self._write(item.target, result)

    def _fill(self, item: Assignment, value: float) -> None:
        wanted = self._wanted or BY_NAME["float32"]
        words = convert(np.full(item.size, value), BY_NAME["float64"], wanted, scale=1.0, offset=0.0)
        self._write(item.target, words)

    def _write(self, name: str, words: Array) -> None:
        self._writer.write(name, words)
        if self._progress is not None:
            self._written += words.nbytes
            self._progress(self._written, self._writer.nbytes)


def _subtracted(reader: BlockReader, item: Assignment, checks: ValueChecks) -> NDArray[np.float64] | None:
    """Return what is subtracted, flat in target order: one number per output channel, so never large."""
    if not item.subtract:
        return None
    found: list[Array] = []
    for part in item.subtract:
        for block in reader.blocks(part):
            words = block.reshape(-1)
            checks.stored(words, part.spec.dtype, sum(array.size for array in found))
            found.append(np.array(convert(words, part.spec.dtype, BY_NAME["float64"], scale=part.scale)))
    return np.concatenate(found)
