"""Reads the containers that TensorFlow weights are kept in."""

from __future__ import annotations

import os
from pathlib import Path

from porter.checkpoints.opening import open_path
from porter.core.checkpoint import Checkpoint


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Open the checkpoint that `path` names; what it is is decided by content.

    Args:
        path: The prefix of a TensorBundle (``ckpt-1``), its ``.index`` or a data file, a V1 checkpoint, a
            SavedModel directory or its ``saved_model.pb``, a `checkpoint` state file, or a training
            directory. A state file is followed only inside its own directory.

    Returns:
        The open checkpoint. Nothing but indices has been read; it is a context manager.

    Raises:
        CheckpointError: nothing is there, it is something else (and what), or it is damaged.
    """
    return open_path(Path(path))
