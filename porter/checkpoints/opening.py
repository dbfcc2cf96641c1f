"""Finds out what a path names, by content, and opens it: a prefix, a file or a directory."""

from __future__ import annotations

from pathlib import Path

from porter.checkpoints.containers import CONTAINERS
from porter.checkpoints.tensorflow.saved_model import variables_alone
from porter.core.checkpoint import Checkpoint
from porter.errors import CheckpointError
from porter.formats import magic
from porter.formats.files import require_regular
from porter.formats.malformed import naming


def open_path(path: Path) -> Checkpoint:
    """Open whatever checkpoint `path` names; see `porter.checkpoints.open_checkpoint`."""
    with naming(path):
        if not magic.exists(path):
            return _open_prefix(path)
        if path.is_dir():
            return _open_directory(path)
        require_regular(path.stat())
    return _open_file(path)


def _open_prefix(prefix: Path) -> Checkpoint:
    for container in CONTAINERS:
        file = container.named_by(prefix)
        if file is not None:
            return container.open(prefix, file)
    raise CheckpointError(
        "checkpoint/not-found",
        "nothing is there",
        file=prefix,
        expected="a checkpoint prefix, file or directory",
        found=None if prefix.parent.is_dir() else "no such directory either",
    )


def _open_directory(directory: Path) -> Checkpoint:
    for container in CONTAINERS:
        file = container.in_directory(directory)
        if file is not None:
            return container.open(directory, file)
    from porter.checkpoints.near_misses import inside  # noqa: PLC0415  (of refusals alone)

    variables = variables_alone(directory)
    raise CheckpointError(
        "checkpoint/no-checkpoint",
        "this directory has no checkpoint",
        file=directory,
        expected="saved_model.pb, model.json, a `checkpoint` file, or one .index file",
        hint=inside(directory)
        if variables is None
        else f"saved_model.pb is missing; the variables alone open as {variables}.",
    )


def _open_file(file: Path) -> Checkpoint:
    magic.refuse_pointer(file)
    for container in CONTAINERS:
        if container.is_mine(file):
            return container.open(file, file)
    magic.refuse_foreign(file)
    for container in CONTAINERS:
        refusal = container.refusal(file, file)
        if refusal is not None:
            raise refusal
    from porter.checkpoints.near_misses import refuse_near_miss  # noqa: PLC0415  (of refusals alone)

    refuse_near_miss(file)
    titles = [container.title for container in CONTAINERS]
    raise CheckpointError(
        "checkpoint/unknown-format",
        "this is no TensorFlow checkpoint",
        file=file,
        expected=f"{', '.join(titles[:-1])} or {titles[-1]}",
    )
