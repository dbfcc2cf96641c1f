"""Frozen graphs (``.pb``): a GraphDef in which constants have taken the place of variables.

Source of the field numbers: tensorflow/core/framework/{graph,node_def,attr_value,tensor}.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

from porter.checkpoints.tensorflow.constant_layers import constant_layers, with_constant_layers
from porter.checkpoints.tensorflow.folded_norms import NORMS_FOLDED, with_norms
from porter.checkpoints.tensorflow.frozen_layers import with_layers
from porter.checkpoints.tensorflow.frozen_network import frozen_network
from porter.checkpoints.tensorflow.frozen_nodes import read_nodes
from porter.checkpoints.tensorflow.frozen_variables import GraphVariables, graph_variables
from porter.checkpoints.tensorflow.input_shapes import axis_lengths, image_size
from porter.checkpoints.tensorflow.trackable_graph import graph_from_names
from porter.core.checkpoint import Array, Checkpoint, TensorSpec
from porter.core.object_graph import ObjectGraph
from porter.core.stored_network import StoredNetwork
from porter.core.stored_preprocessing import StoredInput
from porter.formats.files import RegularFile
from porter.formats.malformed import naming

_READ = "ReadVariableOp"


class FrozenGraph(Checkpoint):
    """An open GraphDef whose constants are read as variables. A GraphDef stores no checksums."""

    specs: Mapping[str, TensorSpec]

    def __init__(self, path: Path, file: Path) -> None:
        """Open a GraphDef.

        Args:
            path: What the user named.
            file: The file itself.

        Raises:
            CheckpointError: it is damaged, or holds no weights.
        """
        self.path = path
        self.files = (file,)
        self._file = RegularFile(file)
        try:
            with naming(file):
                self._nodes = read_nodes(self._file)
                self._weights = graph_variables(self._file, self._nodes)
                shapes = [axis_lengths(self._file, node.shape) for node in self._nodes if node.shape]
        except BaseException:
            self.close()
            raise
        self.stored_input = StoredInput(image_size(shapes), "the shape of the source's placeholder")
        self.specs = {key: tensor.spec for key, tensor in sorted(self._weights.tensors.items())}
        self.remarks = tuple(_remarks(self._weights))
        self.format = f"frozen GraphDef ({len(self._nodes)} nodes)"
        self.read_network = self._network

    @cached_property
    def graph(self) -> ObjectGraph:  # type: ignore[override]  # lazy, as in Bundle
        """A tree of the names; a GraphDef knows no objects. Layers of Keras are found by what reads them."""
        with naming(self.files[0]):
            graph = graph_from_names(self.specs)
            if self._weights.are_read:
                return with_layers(graph, self._nodes, self.stored_network)
            if not any(_READ in name for name in self._weights.keys):
                return graph  # names of TensorFlow 1, which tell more than an order
            layers = constant_layers(self._nodes, self._weights.keys, self._weights.norms)
            return with_constant_layers(graph, layers)

    def _network(self) -> StoredNetwork | str | None:
        with naming(self.files[0]):
            network = frozen_network(self._file, self.specs, self._weights.keys)
            return with_norms(network, self._weights.norms)

    def read(self, key: str) -> Array:
        """Return the whole tensor; see `Checkpoint.read`. There is no checksum to verify."""
        return self.read_block(key, (slice(None),) * len(self.specs[key].shape))

    def verify(self, key: str) -> None:
        """Read the last byte: a GraphDef has no checksums, but the file may have become shorter."""
        with naming(self._file.path, key):
            self._weights.tensors[key].verify(self._file)

    def read_block(self, key: str, block: tuple[slice, ...]) -> Array:
        """Return a rectangular part; see `Checkpoint.read_block`."""
        with naming(self._file.path, key):
            return self._weights.tensors[key].read_block(self._file, key, block)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _remarks(weights: GraphVariables) -> Iterator[str]:
    """Yield what was done to the weights before the graph was stored, and how they are given back."""
    if weights.quantised:
        yield (
            f"{weights.quantised} weights are stored in 8 or 16 bits (quantize_graph) and ported as the "
            "float32 that TensorFlow's Dequantize gives for them: what rounding took away does not come back"
        )
    if weights.norms:
        yield NORMS_FOLDED.format(count=len(weights.norms))
