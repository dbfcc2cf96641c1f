"""SavedModel directories: a description beside `variables/`, which is an ordinary checkpoint."""

from __future__ import annotations

import os
from pathlib import Path

from porter.checkpoints.container import Container
from porter.checkpoints.tensorflow.prefix import open_prefix
from porter.core.checkpoint import Checkpoint
from porter.core.stored_network import StoredNetwork
from porter.errors import CheckpointError
from porter.formats.files import RegularFile
from porter.formats.magic import exists, refuse_pointer
from porter.formats.malformed import Malformed, naming
from porter.formats.protobuf import read_varint

DESCRIPTIONS = ("saved_model.pb", "saved_model.pbtxt")
_VARIABLES = Path("variables", "variables")

_SCHEMA_VERSION, _META_GRAPH = 0x08, 0x12
_LONGEST_TEXT_SEARCH = 1 << 16


class SavedModel(Container):
    """A directory with a description, or that description."""

    title = "a SavedModel"

    def is_mine(self, file: Path) -> bool:
        """Whether it is a description under its own name."""
        return file.name in DESCRIPTIONS and _is_saved_model(file)

    def open(self, path: Path, file: Path) -> Checkpoint:
        """Open the variables beside the description `file`."""
        _require_description(file)
        prefix = file.parent / _VARIABLES
        found = open_prefix(path, prefix, "SavedModel") if prefix.parent.is_dir() else None
        if found is None:
            raise CheckpointError(
                "saved-model/no-variables",
                "this SavedModel has no variables: its weights are constants, or the directory is incomplete",
                file=file,
                expected="variables/variables.index beside it",
            )
        from porter.checkpoints.tensorflow.saved_model_input import saved_model_input  # noqa: PLC0415  (see `_network`)

        found.files = (file, *found.files)
        found.stored_input = saved_model_input(file, found)
        found.read_network = lambda: _network(file, found)
        return found

    def in_directory(self, directory: Path) -> Path | None:
        """Return the description in `directory`."""
        return next((directory / name for name in DESCRIPTIONS if os.path.lexists(directory / name)), None)

    def refusal(self, path: Path, file: Path) -> CheckpointError | None:
        """Name a description that is called something else; a MetaGraphDef (.meta) may look the same."""
        if file.name.endswith(".meta") or not _is_saved_model(file):
            return None
        return CheckpointError(
            "saved-model/wrong-name",
            "this is a SavedModel description under another name, so its variables cannot be found",
            file=path,
            expected="saved_model.pb",
        )


def variables_alone(directory: Path) -> Path | None:
    """Return the prefix of the variables of a SavedModel in `directory`, or None if it has none."""
    variables = directory / _VARIABLES
    return variables if exists(variables.with_name(variables.name + ".index")) else None


def _network(description: Path, checkpoint: Checkpoint) -> StoredNetwork | str | None:
    """Return the network of the graph or, where Keras stored none (``save_traces=False``), of the config."""
    from porter.checkpoints.keras.network_config import stored_network  # noqa: PLC0415  (plain TensorBundles need none of it)
    from porter.checkpoints.tensorflow.saved_model_input import stored_model  # noqa: PLC0415
    from porter.checkpoints.tensorflow.saved_model_network import saved_model_network  # noqa: PLC0415

    found = saved_model_network(description, checkpoint)
    if found is None and (model := stored_model(description, checkpoint)) is not None:
        return stored_network(*model)
    return found


def _is_saved_model(path: Path) -> bool:
    """Whether the regular file `path` is a SavedModel, binary or text.

    Only the tags and lengths of the outermost fields are read, however large the graph is.
    """
    file = RegularFile(path)
    try:
        start = file.read(0, min(file.size, _LONGEST_TEXT_SEARCH))
        if path.suffix == ".pbtxt":
            return b"meta_graphs" in start or b"saved_model_schema_version" in start
        return _META_GRAPH in (tags := _outer_tags(file)) and tags <= {_SCHEMA_VERSION, _META_GRAPH}
    except Malformed:
        return False
    finally:
        file.close()


def _outer_tags(file: RegularFile) -> set[int]:
    """Return the tags of the outermost fields, up to the first 100,000 of them."""
    tags = set()
    position = 0
    for _ in range(100_000):
        if position == file.size:
            break
        window = file.read(position, min(20, file.size - position))
        tag, step = read_varint(window, 0)
        value, step = read_varint(window, step)
        if tag & 7 == 2:
            step += value
        elif tag & 7:
            raise Malformed("saved-model/damaged", "an outer field is of a kind that TensorFlow never writes")
        tags.add(tag)
        position += step
        if position > file.size:
            raise Malformed("saved-model/damaged", "the file ends inside a field")
    return tags


def _require_description(path: Path) -> None:
    with naming(path):
        refuse_pointer(path)
        if not _is_saved_model(path):
            raise Malformed(
                "saved-model/damaged", "this is not a whole SavedModel description", hint="Get it again."
            )
