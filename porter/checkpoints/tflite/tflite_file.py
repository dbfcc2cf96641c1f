"""TensorFlow Lite models (``.tflite``) as a container."""

from __future__ import annotations

from pathlib import Path

from porter.checkpoints.container import Container
from porter.core.checkpoint import Checkpoint
from porter.formats import magic

_IDENTIFIER = b"TFL3"


class TFLiteFile(Container):
    """A network with its weights in one FlatBuffer."""

    title = "a TensorFlow Lite model"

    def is_mine(self, file: Path) -> bool:
        """Whether it names the schema of TensorFlow Lite."""
        return magic.head(file, 8)[4:] == _IDENTIFIER

    def open(self, path: Path, file: Path) -> Checkpoint:
        """Open it."""
        from porter.checkpoints.tflite.tflite_model import TFLiteModel  # noqa: PLC0415  (most need none of it)

        return TFLiteModel(path, file)
