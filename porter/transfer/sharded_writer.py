"""Writing tensors to several safetensors files and an index, as Hugging Face lays out large models."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Self

from porter.core.checkpoint import Array, TensorSpec
from porter.errors import OutputError
from porter.transfer.atomic_file import write_whole
from porter.transfer.safetensors_writer import SafetensorsWriter

INDEX = "model.safetensors.index.json"
_WHOLE = "model.safetensors"
# Every shard is open while the tensors arrive in any order; a process may open about a thousand files.
_MOST_SHARDS = 200


class ShardedWriter:
    """Writes tensors to ``model-00001-of-0000N.safetensors``, ... and an index, in one folder.

    Tensors are dealt out in the order in which they are given: each goes to the current shard, or begins the
    next one if it would not fit. One that is larger than a shard gets one of its own. Where everything
    fits into one shard there is one file, ``model.safetensors``, and no index. The folder is the caller's: it
    should take its name when everything is written (`porter.transfer.atomic_folder.new_folder`).

    Attributes:
        names: The tensors, shard by shard, in file order.
        nbytes: Length of all shards together.
        files: Names of the shards.

    Args:
        folder: An empty folder.
        tensors: Name, shape and dtype of every tensor.
        metadata: Strings for the header of every shard.
        limit: Bytes of tensors that a shard may hold.

    Raises:
        OutputError: there would be too many shards, or the tensors cannot be written there.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        tensors: Iterable[tuple[str, TensorSpec]],
        metadata: Mapping[str, str],
        *,
        limit: int,
    ) -> None:
        groups = _dealt(tensors, limit)
        if len(groups) > _MOST_SHARDS:
            raise OutputError(
                "output/too-many-shards",
                f"shards of {limit} bytes would be {len(groups)}",
                file=folder,
                expected=f"at most {_MOST_SHARDS}",
                hint="Choose a larger --max-shard-size.",
            )
        self._folder = Path(folder)
        self.files = _file_names(len(groups))
        self._sizes = [spec.nbytes for group in groups for spec in group.values()]
        with ExitStack() as stack:
            self._shards = [
                stack.enter_context(SafetensorsWriter(self._folder / file, group.items(), metadata))
                for file, group in zip(self.files, groups, strict=True)
            ]
            self._stack = stack.pop_all()
        self._current = self._shards[0]
        self._owners = {name: shard for shard in self._shards for name in shard.names}
        self.names = tuple(chain.from_iterable(shard.names for shard in self._shards))
        self.nbytes = sum(shard.nbytes for shard in self._shards)

    def write(self, name: str, block: Array) -> None:
        """Append `block` to tensor `name`; see `SafetensorsWriter.write`."""
        shard = self._owners[name]
        if shard is not self._current:
            self._current.rest()  # so that memory does not grow with the number of shards
            self._current = shard
        shard.write(name, block)

    def replace_metadata(self, metadata: Mapping[str, str]) -> None:
        """Rewrite every header; see `SafetensorsWriter.replace_metadata`."""
        for shard in self._shards:
            shard.replace_metadata(metadata)

    def commit(self) -> None:
        """Finish every shard and write the index.

        Raises:
            OutputError: bytes are missing, or the disk refused.
        """
        for shard in self._shards:
            shard.commit()
        if len(self._shards) == 1:
            return
        places = zip(self.files, self._shards, strict=True)
        document = {
            "metadata": {"total_size": sum(self._sizes)},
            "weight_map": dict(sorted((name, file) for file, shard in places for name in shard.names)),
        }
        write_whole(self._folder / INDEX, json.dumps(document, indent=2, ensure_ascii=False) + "\n")

    def __enter__(self) -> Self:
        """Return self; leaving the block without `commit` drops every shard."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop the shards that were not committed."""
        self._stack.__exit__(kind, error, trace)


def _dealt(tensors: Iterable[tuple[str, TensorSpec]], limit: int) -> list[dict[str, TensorSpec]]:
    groups: list[dict[str, TensorSpec]] = [{}]
    size = 0
    names: set[str] = set()
    for name, spec in tensors:
        if name in names:
            raise OutputError("output/duplicate-name", "two tensors have this name", tensor=name)
        names.add(name)
        if groups[-1] and size + spec.nbytes > limit:
            groups.append({})
            size = 0
        groups[-1][name] = spec
        size += spec.nbytes
    return groups


def _file_names(count: int) -> tuple[str, ...]:
    if count == 1:
        return (_WHOLE,)
    return tuple(f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1))
