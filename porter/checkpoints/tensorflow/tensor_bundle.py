"""TensorBundles as a container: an index, its data files, and the settings that may lie beside them."""

from __future__ import annotations

import os
from pathlib import Path

from porter.checkpoints.container import Container
from porter.checkpoints.tensorflow.bundle import Bundle
from porter.checkpoints.tensorflow.tables import INDEX, is_index, names_in, prefix_of_data, prefixes_in
from porter.core.checkpoint import Checkpoint
from porter.core.stored_preprocessing import StoredInput
from porter.errors import CheckpointError
from porter.formats import magic
from porter.formats.files import RegularFile
from porter.formats.malformed import naming
from porter.formats.sstable import Table

_SETTINGS = "params.yaml"
_SHOWN = 5


class TensorBundle(Container):
    """TensorFlow's V2 checkpoint format, known by its index."""

    title = "a TensorBundle (its prefix or .index)"

    def is_mine(self, file: Path) -> bool:
        """Whether it is an index, under whatever name."""
        return is_index(file)

    def open(self, path: Path, file: Path, within: str = "") -> Checkpoint:
        """Open the checkpoint of the index `file`, `within` another container if that is named."""
        if not file.name.endswith(INDEX):
            raise CheckpointError(
                "bundle/index-renamed",
                "this is the index of a checkpoint under another name, so its data files cannot be found",
                file=path,
                expected="a name ending in .index",
            )
        magic.refuse_pointer(file)
        prefix = file.with_name(file.name.removesuffix(INDEX))
        found = Bundle(path, prefix, f"{within}, TensorBundle" if within else "TensorBundle")
        settings = None if within else _settings_beside(prefix)
        if settings is not None:
            try:
                _take_settings(found, settings)
            except BaseException:
                found.close()
                raise
        return found

    def named_by(self, prefix: Path) -> Path | None:
        """Return the index of `prefix`."""
        index = prefix.with_name(prefix.name + INDEX)
        if magic.exists(index):
            return index
        if magic.exists(prefix) and not prefix.is_dir():
            return None  # a V1 checkpoint is called by the prefix alone
        if any(prefix_of_data(name) == prefix.name for name in names_in(prefix.parent)):
            raise CheckpointError(
                "bundle/missing-index",
                "there are data files but no index",
                file=prefix,
                expected=index.name,
                hint="Put the .index file beside them.",
            )
        return None

    def in_directory(self, directory: Path) -> Path | None:
        """Return the only index in `directory`, or the one beside it that is called like it."""
        prefixes = prefixes_in(directory)
        if len(prefixes) == 1:
            return directory / (prefixes[0] + INDEX)
        if prefixes:
            raise CheckpointError(
                "checkpoint/several-checkpoints",
                "this directory has several checkpoints and no `checkpoint` file to choose by",
                file=directory,
                found=", ".join(prefixes[:_SHOWN]) + (", ..." if len(prefixes) > _SHOWN else ""),
                hint="Name one of them.",
            )
        beside = directory.parent / (directory.name + INDEX)  # "." has no name for with_name to replace
        return beside if directory.name and magic.exists(beside) else None

    def refusal(self, path: Path, file: Path) -> CheckpointError | None:  # noqa: ARG002  (the file is named)
        """Say how an index is damaged that does not even end like one."""
        if file.name.endswith(INDEX):
            with naming(file):
                handle = RegularFile(file)
                try:
                    Table(handle)
                finally:
                    handle.close()
        return None


def _settings_beside(prefix: Path) -> Path | None:
    """Return the settings that the Model Garden leaves beside its checkpoints, or one directory up."""
    parent = prefix.parent
    candidates = (parent / _SETTINGS, Path(os.path.abspath(parent)).parent / _SETTINGS)  # noqa: PTH100
    return next((path for path in candidates if magic.exists(path) and path.is_file()), None)


def _take_settings(checkpoint: Checkpoint, path: Path) -> None:
    from porter.checkpoints.tensorflow.garden_settings import training_settings  # noqa: PLC0415  (few have them)

    settings = training_settings(path)
    if settings is not None:
        checkpoint.training = settings
        checkpoint.stored_input = StoredInput(settings.input_size, path.name)
