"""The containers that porter reads: one line each, and nothing else to edit for another one.

Of several that would take a file, a prefix or a directory, the first does.
"""

from __future__ import annotations

from porter.checkpoints.container import Container
from porter.checkpoints.keras.keras_file import KerasContainer
from porter.checkpoints.tensorflow.data_file import DataFile
from porter.checkpoints.tensorflow.graph_file import GraphFile
from porter.checkpoints.tensorflow.saved_model import SavedModel
from porter.checkpoints.tensorflow.state_file import StateFile
from porter.checkpoints.tensorflow.tensor_bundle import TensorBundle
from porter.checkpoints.tensorflow.v1_files import V1Files
from porter.checkpoints.tfjs.container import TfjsContainer
from porter.checkpoints.tflite.tflite_file import TFLiteFile

CONTAINERS: tuple[Container, ...] = (
    SavedModel(),
    StateFile(),
    TensorBundle(),
    V1Files(),
    DataFile(),
    TfjsContainer(),
    KerasContainer(),
    TFLiteFile(),
    GraphFile(),
)
