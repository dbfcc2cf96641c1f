"""Keras files (``.h5``, ``.keras``, ``.weights.h5``) as a container."""

from __future__ import annotations

from pathlib import Path

from porter.checkpoints.container import Container
from porter.core.checkpoint import Checkpoint
from porter.formats import magic
from porter.formats.files import RegularFile

# Of a KerasHub preset: the backbone's weights, and those of the task behind it.
_PRESET, _HEAD = ("model.weights.h5", "model.weights.json"), "task.weights.h5"
_JSON_STARTS = (b"{", b" ", b"\n", b"\xef")


class KerasContainer(Container):
    """A file of either generation of Keras: HDF5, or a zip archive with HDF5 inside."""

    title = "a Keras file"

    def is_mine(self, file: Path) -> bool:
        """Whether it is HDF5, an archive with what Keras puts into one, or the map of sharded weights."""
        return magic.is_keras(file) or _is_shard_map(file)

    def open(self, path: Path, file: Path) -> Checkpoint:
        """Open it; HDF5 is read in a process of its own."""
        from porter.checkpoints.keras.file import KerasFile  # noqa: PLC0415  (TensorBundles need none of it)

        found = KerasFile(path, file)
        if file.name in _PRESET and file.with_name(_HEAD).is_file():
            found.remarks += (f"{_HEAD} beside it holds a head of its own, which is not read",)
        return found

    def in_directory(self, directory: Path) -> Path | None:
        """Return the weights in a folder of Keras's BackupAndRestore, or of a preset of KerasHub."""
        backup, config = directory / "latest.weights.h5", directory / "config.json"
        if backup.is_file() and (directory / "training_metadata.json").is_file():
            return backup
        named = [directory / name for name in _PRESET]
        return next((file for file in named if config.is_file() and file.is_file()), None)


def _is_shard_map(file: Path) -> bool:
    if magic.head(file, 1) not in _JSON_STARTS:
        return False
    from porter.checkpoints.keras.weight_shards import is_shard_map  # noqa: PLC0415  (as in `open`)

    handle = RegularFile(file)
    try:
        return is_shard_map(handle)
    finally:
        handle.close()
