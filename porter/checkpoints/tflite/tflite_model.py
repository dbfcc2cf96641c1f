"""An open TensorFlow Lite model: its weights as numbers with TensorFlow's axes, and its network."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np

from porter.checkpoints.tflite.graph import Graph, Weight
from porter.checkpoints.tflite.input import stored_input
from porter.checkpoints.tflite.operators import read_graph
from porter.checkpoints.tflite.schema import Tensor, read_model
from porter.checkpoints.tflite.shifted_gates import SHIFT, unshifted
from porter.checkpoints.tflite.values import Array, numbers, type_name
from porter.core.checkpoint import TensorSpec, contiguous
from porter.core.dtypes import BY_NAME
from porter.core.folded_checkpoint import FoldedCheckpoint
from porter.core.object_graph import Node, ObjectGraph
from porter.core.stored_network import StoredNetwork
from porter.formats.blocks import part_of, resolve_block
from porter.formats.files import RegularFile
from porter.formats.malformed import Malformed, naming

_FLOAT32 = BY_NAME["float32"]
_LARGEST = 4 << 30


class TFLiteModel(FoldedCheckpoint):
    """An open ``.tflite`` file. It stores no checksums.

    Every weight is float32, whatever it is stored as: that is what the interpreter's DEQUANTIZE makes of
    float16 and of integers, and float16 could not hold what takes the norms' place.
    """

    specs: dict[str, TensorSpec]

    def __init__(self, path: Path, file: Path) -> None:
        """Open a model.

        Args:
            path: What the user named.
            file: The file itself.

        Raises:
            CheckpointError: it is damaged, or holds no weights that can be read.
        """
        self.path = path
        self.files = (file,)
        with naming(file):
            self._data = _whole(file)
            model = read_model(self._data)
            graph = read_graph(self._data, model)
            if not graph.weights:
                raise Malformed("tflite/no-weights", "the model has no layer with weights")
            network, shifted = _network(graph)
            self.stored_input = stored_input(model, network)
        self.read_network = lambda: network
        self._tensors = model.tensors
        self._weights = {
            key: weight._replace(shift=SHIFT) if key in shifted else weight
            for key, weight in graph.weights.items()
        }
        self.specs = {key: TensorSpec(_FLOAT32, weight.shape) for key, weight in graph.weights.items()}
        kinds = Counter(_told(self._tensors[weight.tensor]) for weight in graph.weights.values())
        told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        self.format = f"TensorFlow Lite model ({len(model.operators)} operators; weights: {told})"
        nodes = [Node({key: place for place, key in enumerate(self.specs, 1)})]
        nodes += [Node(key=key, full_name=key) for key in self.specs]
        self.graph = ObjectGraph(nodes, stored=False, origin="none stored: weights in the network's order")

    def see_as(self, key: str, shape: tuple[int, ...]) -> None:
        """Give a weight another shape; see `FoldedCheckpoint.see_as`."""
        if math.prod(shape) != self.specs[key].size:
            raise ValueError(f"{key} has {self.specs[key].size} elements")
        self.specs[key] = TensorSpec(_FLOAT32, shape)

    def read(self, key: str) -> Array:
        """Return the whole weight, dequantised; see `Checkpoint.read`. There is no checksum to verify."""
        weight = self._weights[key]
        with naming(self.files[0], key):
            values = weight_values(self._data, self._tensors[weight.tensor], weight)
        return contiguous(values.reshape(self.specs[key].shape))

    def verify(self, key: str) -> None:
        """Do nothing: the bytes were read when the file was opened, and there is no checksum."""

    def read_block(self, key: str, block: tuple[slice, ...]) -> Array:
        """Return a rectangular part; see `Checkpoint.read_block`."""
        resolve_block(block, self.specs[key].shape)
        return contiguous(part_of(self.read(key), block))

    def close(self) -> None:
        """Release the bytes."""
        self._data = b""


def weight_values(data: bytes, tensor: Tensor, weight: Weight) -> Array:
    """Return a weight's numbers with TensorFlow's axes, float32.

    Raises:
        Malformed: they cannot be told.
    """
    values = numbers(data, tensor)
    if weight.layout == "conv":
        values = values.transpose(1, 2, 3, 0)
    elif weight.layout == "dense":
        values = values.T
    if weight.shift:
        values = values - np.float32(weight.shift)
    return np.ascontiguousarray(values).reshape(weight.shape)


def _network(graph: Graph) -> tuple[StoredNetwork | None, frozenset[str]]:
    network = graph.network()
    return (None, frozenset()) if network is None else unshifted(network)


def _whole(file: Path) -> bytes:
    handle = RegularFile(file)
    try:
        if handle.size > _LARGEST:
            raise Malformed(
                "tflite/too-large", "no model of TensorFlow Lite is that large", found=handle.size
            )
        return handle.read(0, handle.size)
    finally:
        handle.close()


def _told(tensor: Tensor) -> str:
    """Return how a weight is stored, in words."""
    name = type_name(tensor)
    if tensor.quantisation is None or name.startswith("float"):
        return name
    return f"{name} per {'channel' if tensor.quantisation.scale.size > 1 else 'tensor'}"
