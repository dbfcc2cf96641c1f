"""Keras's own files: ``.h5``, ``.weights.h5`` and ``.keras``."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from porter.checkpoints.keras import archive
from porter.checkpoints.keras.config import LayerConfig, parse_config, parse_layer, uses_averages
from porter.checkpoints.keras.layers import Layer, Order, graph_of
from porter.checkpoints.keras.legacy import is_legacy, legacy_config, legacy_model, versions
from porter.checkpoints.keras.network_config import stored_network
from porter.checkpoints.keras.optimizer_averages import AVERAGE, add_averages, averages_by_position
from porter.checkpoints.keras.saved_state import is_saved_state, saved_model_state
from porter.checkpoints.keras.stored_input import stored_input
from porter.checkpoints.keras.weight_shards import is_shard_map, merged, open_shards, shard_map
from porter.checkpoints.keras.windows_names import with_slashes
from porter.checkpoints.keras.wrappers import STATE, gather_state, remarks, unwrapped
from porter.core.checkpoint import Array, Checkpoint, TensorSpec, contiguous
from porter.core.dtypes import BY_NAME
from porter.core.object_graph import Node, ObjectGraph, Slot
from porter.formats.files import RegularFile
from porter.formats.hdf5.data import Hdf5Data
from porter.formats.hdf5.description import Description, describe
from porter.formats.malformed import Malformed, naming

_FLOAT32 = BY_NAME["float32"]
_IN_MODEL_ORDER = "layers in the model's order"
_BY_CLASS = "layers in order within a class; a table decides between classes"


class KerasFile(Checkpoint):
    """An open Keras file. HDF5 stores no checksums, so damaged numbers cannot be told from whole ones.

    The structure is read by a child process when the file is opened, numbers are read here when they are
    asked for.
    """

    specs: dict[str, TensorSpec]

    def __init__(self, path: Path, file: Path) -> None:
        """Open a Keras file.

        Args:
            path: What the user named.
            file: The file itself.

        Raises:
            CheckpointError: it is damaged, holds what is refused, or is no file that Keras writes.
            MissingDependencyError: h5py is not installed.
        """
        self.path = path
        self._scales: dict[str, str] = {}
        self._data: dict[str, tuple[Hdf5Data, str]] = {}
        self._opened = [RegularFile(file)]
        try:
            with naming(file):
                self._open()
        except BaseException:
            self.close()
            raise
        self.files = (file, *(each.path for each in self._opened if each.path != file))

    def _open(self) -> None:
        config, kind, says_averages, container = None, "", None, ".weights.h5"
        handle = self._opened[0]
        if archive.is_archive(handle):
            opened = archive.read_archive(handle)
            config, kind = parse_config(opened.config), opened.kind
            says_averages = uses_averages(opened.config)
            description = self._described(*self._member(opened.weights))
        elif is_shard_map(handle):
            description = self._sharded(handle)
            container = f".weights.json, {len(self._opened) - 1} shards"
        else:
            description = self._described(handle, 0, handle.size)
        if not is_legacy(description):
            description = with_slashes(description)
            self._data = {path.replace("\\", "/"): found for path, found in self._data.items()}
        self.specs = {key: stored.spec for key, stored in sorted(description.datasets.items())}
        config = legacy_config(description) if config is None else config
        model, self.format = _model(description, config, kind, container)
        gather_state(model)
        self._scales = {v.key: v.scale for layer in model.all for v in layer.variables if v.scale}
        self.specs |= {key: TensorSpec(_FLOAT32, self.specs[key].shape) for key in self._scales}
        if config is not None:
            self.remarks = (*self.remarks, *remarks(config))
            config = unwrapped(config, parse_layer)
            self.stored_input = stored_input(config, model)
            self.read_network = partial(stored_network, config, model)
        doubtful = [layer for layer in model.all if layer.is_frozen_in_part]
        doubtful += [layer for layer in model.layers if layer.order is Order.BUILT and len(layer.layers) > 1]
        self.frozen_in_part = {layer.name: layer.is_frozen_in_part for layer in doubtful}
        self.assumed_order = tuple(layer.name for layer in model.layers if layer.is_assumed)
        nodes = graph_of(model)
        listed = dict.fromkeys(node.key for node in nodes if node.key in self.specs)
        self.specs = {key: self.specs[key] for key in (*filter(None, listed), *self.specs)}
        by_class = any(node.anonymous for node in nodes)
        self._add_averages(model, nodes, is_used=says_averages)
        self.graph = ObjectGraph(nodes, stored=True, origin=_BY_CLASS if by_class else _IN_MODEL_ORDER)

    def _member(self, weights: archive.Member) -> tuple[RegularFile, int, int]:
        """Return the file in which a member of the archive lies, its first byte there and its size."""
        if not weights.is_compressed:
            return self._opened[0], weights.offset, weights.size
        self._opened.append(_unpacked(self._opened[0], weights))
        return self._opened[-1], 0, weights.size

    def _described(self, source: RegularFile, base: int, size: int) -> Description:
        """Return what an HDF5 file holds, and read its numbers from there."""
        description = describe(source, base, size)
        data = Hdf5Data(source, base, size, description.datasets)
        self._data |= {path: (data, path) for path in description.datasets}
        return description

    def _sharded(self, handle: RegularFile) -> Description:
        shards = open_shards(handle, self._opened)
        found = {name: self._described(shard, 0, shard.size) for name, shard in shards.items()}
        return merged(found, shard_map(handle))

    def _add_averages(self, model: Layer, nodes: list[Node], *, is_used: bool | None) -> None:
        """Give the root a slot for each moving average, or say why that cannot be done."""
        kept = [layer for layer in model.attributes if layer.is_state and layer.name != STATE]
        state = [variable for layer in kept for variable in layer.variables]
        numbers = {node.key: number for number, node in enumerate(nodes) if node.key is not None}
        if not all(variable.key.rpartition("/")[2].isdecimal() for variable in state):
            optimizer = (numbers[variable.key] for variable in state)
            self.unplaced_averages = add_averages(nodes, self.read, optimizer)
            return
        keys = [variable.key for variable in state]
        if model.order is not Order.MODEL:  # a table will tell the order of the layers
            self.numbered_state = tuple(keys)
            return
        trainable = [variable.key for variable in model.trainable_variables]
        pairs, self.unplaced_averages = averages_by_position(
            [(key, self.specs[key]) for key in keys],
            [(key, self.specs[key]) for key in trainable],
            self.read,
            is_used=is_used,
        )
        nodes[0].slots += tuple(Slot(AVERAGE, numbers[raw], numbers[key]) for raw, key in pairs.items())

    def read(self, key: str) -> Array:
        """Return the whole tensor; see `Checkpoint.read`. There is no checksum to verify."""
        return self.read_block(key, (slice(None),) * len(self.specs[key].shape))

    def verify(self, key: str) -> None:
        """Read the tensor's last element: HDF5 has no checksums, but the file may have become shorter."""
        shape = self.specs[key].shape
        if 0 not in shape and self.specs[key].dtype.storage is not None:
            self.read_block(key, tuple(slice(length - 1, length) for length in shape))

    def read_block(self, key: str, block: tuple[slice, ...]) -> Array:
        """Return a rectangular part; see `Checkpoint.read_block`."""
        data, path = self._data[key]
        with naming(self.path, key):
            values = data.read(path, block)
            if key not in self._scales:
                return values
            data, path = self._data[self._scales[key]]
            return contiguous(values.astype(np.float32) / data.read(path, block[-1:]))

    def close(self) -> None:
        """Close the files, and delete what was unpacked."""
        for handle in self._opened:
            handle.close()


def _model(
    description: Description, config: LayerConfig | None, kind: str, container: str
) -> tuple[Layer, str]:
    """Return the model in an HDF5 file and what the file is called."""
    if kind:
        return saved_model_state(description, config), kind
    if is_legacy(description):
        return legacy_model(description, config), f"Keras HDF5 ({versions(description)})"
    if is_saved_state(description):
        return saved_model_state(description, None), f"Keras {container} (no config)"
    raise Malformed(
        "keras/not-keras",
        "this HDF5 file is not one that Keras writes",
        expected="a layer_names attribute, or groups called vars",
    )


def _unpacked(handle: RegularFile, member: archive.Member) -> RegularFile:
    """Decompress a member of an archive into a file without a name, and open that."""
    with tempfile.TemporaryFile() as file:
        archive.unpack(handle, member, file)
        file.flush()
        return RegularFile(handle.path, os.dup(file.fileno()))
