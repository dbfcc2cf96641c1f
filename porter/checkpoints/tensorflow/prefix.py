"""What TensorFlow calls a checkpoint: a prefix, which files of either of its formats may have."""

from __future__ import annotations

from pathlib import Path

from porter.checkpoints.tensorflow.tensor_bundle import TensorBundle
from porter.checkpoints.tensorflow.v1_files import V1Files
from porter.core.checkpoint import Checkpoint

_FORMATS = (TensorBundle(), V1Files())


def open_prefix(path: Path, prefix: Path, within: str = "") -> Checkpoint | None:
    """Open the checkpoint whose files begin with `prefix`, or return None if there are none.

    Args:
        path: The path as the caller gave it.
        prefix: Where the files are.
        within: The container that they are part of, if that has a name of its own.

    Raises:
        CheckpointError: the checkpoint is damaged or incomplete.
    """
    for container in _FORMATS:
        file = container.named_by(prefix)
        if file is not None:
            return container.open(path, file, within)
    return None
