"""Whether a source carries its network, so that TensorFlow can run the source itself."""

from __future__ import annotations

from enum import Enum

from porter.checkpoints.tensorflow.saved_model import DESCRIPTIONS
from porter.core.checkpoint import Checkpoint


class Carried(Enum):
    """How a source holds its network."""

    KERAS = "Keras file"
    SAVED_MODEL = "SavedModel"
    GRAPH = "frozen graph"
    TFLITE = "TensorFlow Lite model"


def carried_network(checkpoint: Checkpoint) -> Carried | None:
    """Return how the source holds its network; None if it stores weights alone."""
    if not checkpoint.files:
        return None
    first = checkpoint.files[0]
    if first.name in DESCRIPTIONS:
        return Carried.SAVED_MODEL
    if checkpoint.format.startswith("frozen GraphDef"):
        return Carried.GRAPH
    if checkpoint.format.startswith(Carried.TFLITE.value):
        return Carried.TFLITE
    if not checkpoint.format.startswith("Keras"):
        return None
    import zipfile  # noqa: PLC0415  (a TensorBundle needs none of it)

    return Carried.KERAS if "full model" in checkpoint.format or zipfile.is_zipfile(first) else None
