"""Reads the containers that TensorFlow weights are kept in."""

from __future__ import annotations

import os
from pathlib import Path

from porter.checkpoints.opening import open_path
from porter.core.checkpoint import Checkpoint


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Open the checkpoint that `path` names; the format is detected from the content.

    Args:
        path: The prefix of a TensorBundle (``ckpt-1``), its ``.index`` or a data file, a V1 checkpoint, a
            SavedModel directory or its ``saved_model.pb``, a `checkpoint` state file, or a training
            directory. A state file is followed only inside its own directory.

    Returns:
        The open checkpoint. Nothing but indices has been read; it is a context manager.

    Raises:
        CheckpointError: nothing is there, it is something else (and what), or it is damaged.

    Example:
        >>> with porter.open_checkpoint("ckpt-1") as checkpoint:
        ...     checkpoint
        ckpt-1: TensorBundle (name-based checkpoint)
          137 tensors, 1.9 MB
          layer_with_weights-0/kernel float32 [3, 3, 3, 8]
          layer_with_weights-1/beta float32 [8]
          layer_with_weights-1/gamma float32 [8]
          ...
        >>> checkpoint.specs["layer_with_weights-0/kernel"].shape
        (3, 3, 3, 8)
    """
    return open_path(Path(path))
