"""The data file of a TensorBundle as a name for the whole checkpoint."""

from __future__ import annotations

from pathlib import Path

from porter.checkpoints.container import Container
from porter.checkpoints.tensorflow.prefix import open_prefix
from porter.checkpoints.tensorflow.tables import prefix_of_data
from porter.core.checkpoint import Checkpoint
from porter.errors import CheckpointError


class DataFile(Container):
    """The elements alone. Nothing in them says what they are, so the name has to."""

    title = "a data file"

    def is_mine(self, file: Path) -> bool:
        """Whether it is called like a data file."""
        return prefix_of_data(file.name) is not None

    def open(self, path: Path, file: Path) -> Checkpoint:
        """Open the checkpoint that the name belongs to."""
        prefix = file.with_name(prefix_of_data(file.name) or file.name)
        found = open_prefix(path, prefix)
        if found is None:  # its directory may be entered but not listed
            raise CheckpointError(
                "bundle/missing-index",
                "this is a data file, and no index is beside it",
                file=path,
                expected=f"{prefix.name}.index",
                hint="Put the .index file beside it.",
            )
        return found
