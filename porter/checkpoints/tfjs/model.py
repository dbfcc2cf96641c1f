"""TensorFlow.js models: a Keras config or a graph, and weights called as in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from porter.checkpoints.keras import archive
from porter.checkpoints.keras.config import LayerConfig, parse_config
from porter.checkpoints.keras.layers import graph_of
from porter.checkpoints.keras.legacy import model_of_names
from porter.checkpoints.keras.network_config import stored_network
from porter.checkpoints.keras.stored_input import stored_input
from porter.checkpoints.tensorflow.folded_norms import NORMS_FOLDED
from porter.checkpoints.tensorflow.graph_constants import Filled
from porter.checkpoints.tfjs.graph_model import graph_model
from porter.checkpoints.tfjs.manifest import ManifestWeight, parse_manifest
from porter.checkpoints.tfjs.model_json import ModelJson, read_archive, read_folder
from porter.core.checkpoint import Array, Checkpoint, TensorSpec
from porter.core.object_graph import ObjectGraph
from porter.core.stored_preprocessing import StoredInput
from porter.formats.files import RegularFile
from porter.formats.malformed import naming

_ORDER = "layers in the model's order"


class TfjsModel(Checkpoint):
    """An open TensorFlow.js model. Its format stores no checksums."""

    specs: Mapping[str, TensorSpec]

    def __init__(self, path: Path, file: Path) -> None:
        """Open a TensorFlow.js model.

        Args:
            path: What the user named.
            file: The ``model.json``, or a zip archive with it.

        Raises:
            CheckpointError: it is damaged, incomplete, or names files elsewhere.
        """
        self.path = path
        self._filled: Mapping[str, tuple[TensorSpec, float]] = {}
        self._opened: list[RegularFile] = [RegularFile(file)]
        try:
            with naming(file):
                handle = self._opened[0]
                is_archive = archive.is_archive(handle)
                model = (read_archive if is_archive else read_folder)(handle, self._opened)
                self._weights = parse_manifest(model.manifest, model.opener)
                self.specs = {name: weight.spec for name, weight in self._weights.items()}
                self.labels = model.labels
                self._describe(model)
        except BaseException:
            self.close()
            raise
        self.files = tuple(dict.fromkeys(handle.path for handle in self._opened))
        self.remarks += tuple(_remarks(self._weights))

    def _describe(self, model: ModelJson) -> None:
        if model.is_graph:
            self._describe_graph(model)
            return
        document = model.topology.get("model_config", model.topology)
        config = _with_names(parse_config(json.dumps(document)))
        named = [(name, len(spec.shape)) for name, spec in self.specs.items()]
        layers = model_of_names(config, named)
        self.format = "TensorFlow.js layers model"
        self.stored_input = stored_input(config, layers)
        self.read_network = partial(stored_network, config, layers)
        nodes = graph_of(layers)
        listed = dict.fromkeys(node.key for node in nodes if node.key in self.specs)
        self.specs = {key: self.specs[key] for key in (*filter(None, listed), *self.specs)}
        self.graph = ObjectGraph(nodes, stored=True, origin=_ORDER)

    def _describe_graph(self, model: ModelJson) -> None:
        found = graph_model(model.topology, self._weights)
        self._weights = {key: self._weights[name] for key, name in found.keys.items()}
        self._filled = found.filled
        self.specs = {key: weight.spec for key, weight in self._weights.items()}
        self.specs |= {key: spec for key, (spec, _) in found.filled.items()}
        self.format = "TensorFlow.js graph model"
        self.graph = found.graph
        self.stored_input = StoredInput(found.image, "the shape of the source's placeholder")
        self.read_network = lambda: found.network
        if found.norms:
            self.remarks = (NORMS_FOLDED.format(count=found.norms),)

    def read(self, key: str) -> Array:
        """Return the whole tensor; see `Checkpoint.read`. There is no checksum to verify."""
        return self.read_block(key, (slice(None),) * len(self.specs[key].shape))

    def verify(self, key: str) -> None:
        """Read the tensor: the format has no checksums, but a file may have become shorter."""
        if self.specs[key].dtype.storage is not None:
            self.read(key)

    def read_block(self, key: str, block: tuple[slice, ...]) -> Array:
        """Return a rectangular part; see `Checkpoint.read_block`."""
        if key in self._filled:
            spec, value = self._filled[key]
            return Filled(spec, value).read_block(self._opened[0], key, block)
        with naming(self._opened[0].path, key):
            return self._weights[key].read_block(block)

    def close(self) -> None:
        """Close every file."""
        for handle in self._opened:
            handle.close()


def _with_names(config: LayerConfig) -> LayerConfig:
    """Return a config whose inner models have names: JavaScript writes none for a Sequential."""
    if config.layers is None:
        return config
    taken = {layer.name for layer in config.layers}
    layers = []
    for number, layer in enumerate(config.layers):
        name = layer.name or f"{layer.class_name.lower()}_{number}"
        while not layer.name and name in taken:
            name += "_"
        layers.append(replace(_with_names(layer), name=name))
    return replace(config, layers=tuple(layers))


def _remarks(weights: Mapping[str, ManifestWeight]) -> list[str]:
    """Return how quantised weights are given back."""
    kinds = sorted({weight.words.name for weight in weights.values() if weight.is_quantised})
    count = sum(weight.is_quantised for weight in weights.values())
    if not count:
        return []
    stored = " and ".join(kinds)
    told = f"{count} weights are stored as {stored} and ported as what TensorFlow.js makes of them"
    return [f"{told}: what rounding took away does not come back"]
