"""Keras files (``.h5``, ``.keras``, ``.weights.h5``) as a container."""

from __future__ import annotations

from pathlib import Path

from porter.checkpoints.container import Container
from porter.core.checkpoint import Checkpoint
from porter.formats import magic


class KerasContainer(Container):
    """A file of either generation of Keras: HDF5, or a zip archive with HDF5 inside."""

    title = "a Keras file"

    def is_mine(self, file: Path) -> bool:
        """Whether it is HDF5, or an archive with what Keras puts into one."""
        return magic.is_keras(file)

    def open(self, path: Path, file: Path) -> Checkpoint:
        """Open it; HDF5 is read in a process of its own."""
        from porter.checkpoints.keras.file import KerasFile  # noqa: PLC0415  (TensorBundles need none of it)

        return KerasFile(path, file)
