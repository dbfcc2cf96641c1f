"""SavedModel directories: a description beside `variables/`, which is an ordinary checkpoint."""

from __future__ import annotations

import os
from pathlib import Path

from porter.errors import CheckpointError
from porter.formats.files import RegularFile
from porter.formats.magic import refuse_stand_in
from porter.formats.malformed import Malformed, naming
from porter.formats.protobuf import read_varint

DESCRIPTIONS = ("saved_model.pb", "saved_model.pbtxt")
VARIABLES = Path("variables", "variables")

_SCHEMA_VERSION, _META_GRAPH = 0x08, 0x12
_LONGEST_TEXT_SEARCH = 1 << 16


def description_in(directory: Path) -> Path | None:
    """Return the SavedModel description in `directory`, or None."""
    return next((directory / name for name in DESCRIPTIONS if os.path.lexists(directory / name)), None)


def is_saved_model(path: Path) -> bool:
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


def require_description(path: Path) -> None:
    """Check that `path` is a SavedModel description.

    Raises:
        CheckpointError: it is not, or it is cut off.
    """
    with naming(path):
        refuse_stand_in(path)
        if not is_saved_model(path):
            raise Malformed(
                "saved-model/damaged", "this is not a whole SavedModel description", hint="Get it again."
            )


def refuse_without_variables(description: Path) -> CheckpointError:
    """Return the refusal of a SavedModel that has no variables of its own."""
    return CheckpointError(
        "saved-model/no-variables",
        "this SavedModel has no variables: its weights are constants, or the directory is incomplete",
        file=description,
        expected="variables/variables.index beside it",
    )
