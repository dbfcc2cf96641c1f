"""TensorBundle, TensorFlow's V2 checkpoint format: one index and its data files."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from porter.checkpoints.keras.optimizer_averages import add_averages
from porter.checkpoints.tensorflow.bundle_index import BundleIndex, read_index
from porter.checkpoints.tensorflow.coalesced_reads import read_together
from porter.checkpoints.tensorflow.keras_objects import add_layer_edges, add_layers_behind_normalizations
from porter.checkpoints.tensorflow.messages import BundleEntry
from porter.checkpoints.tensorflow.strings import read_strings, verify_strings
from porter.checkpoints.tensorflow.trackable_graph import GRAPH_KEY, graph_from_names, parse_graph
from porter.core.checkpoint import Array, Checkpoint, TensorSpec, contiguous
from porter.core.object_graph import ObjectGraph
from porter.formats import slices
from porter.formats.blocks import Block, part_of, resolve_block
from porter.formats.files import RegularFile
from porter.formats.magic import naming_data
from porter.formats.malformed import Malformed, naming
from porter.formats.region import Region


class Bundle(Checkpoint):
    """An open TensorBundle. The index is read and checked when it is opened, data when it is asked for."""

    specs: Mapping[str, TensorSpec]

    def __init__(self, path: Path, prefix: Path, container: str = "TensorBundle") -> None:
        """Open ``<prefix>.index``.

        Args:
            path: What the user named.
            prefix: Path of the index without its suffix.
            container: What to call it in `format`.

        Raises:
            CheckpointError: the index is damaged, or a data file is missing or too short.
        """
        self.path = path
        self._index_path = prefix.with_name(prefix.name + ".index")
        file = RegularFile(self._index_path)
        try:
            self._index: BundleIndex = read_index(file, prefix)
        finally:
            file.close()
        self.specs = self._index.specs
        self.files = (self._index_path, *self._index.shards.used)
        kind = "TF2 object-based" if GRAPH_KEY in self.specs else "name-based"
        self.format = f"{container} ({kind} checkpoint)"
        self._swapped = self._index.big_endian != (sys.byteorder == "big")

    @cached_property
    def graph(self) -> ObjectGraph:  # type: ignore[override]  # lazy: it takes as long as the index
        """The stored object graph, or a tree of the names if none is stored.

        Raises:
            CheckpointError: the stored graph is damaged.
        """
        spec = self.specs.get(GRAPH_KEY)
        if spec is None:
            with naming(self._index_path):
                return graph_from_names(self.specs)
        with naming(self._index_path, GRAPH_KEY):
            if spec.dtype.name != "string" or spec.shape:
                raise Malformed(
                    "graph/not-a-string", "the object graph is not one string", found=spec.dtype.name
                )
            graph = parse_graph(self.read(GRAPH_KEY).item(), self.specs)
            self.unplaced_averages = add_averages(graph.nodes, self.read)
            add_layer_edges(graph.nodes, self.specs)
            add_layers_behind_normalizations(graph.nodes)
            return graph

    def read(self, key: str) -> Array:
        """Return the whole tensor; see `Checkpoint.read`."""
        entry, spec = self._entry(key)
        if entry.slices:
            result = np.empty(spec.shape, spec.dtype.storage or object)
            for box, part in self._parts(key):
                place = tuple(slice(start, stop) for start, stop in box)
                result[place] = self._read_whole(key, part, TensorSpec(spec.dtype, slices.box_shape(box)))
            return contiguous(result)
        return self._read_whole(key, entry, spec)

    def verify(self, key: str) -> None:
        """Check the checksums of one tensor in 4 MiB of memory."""
        entry, spec = self._entry(key)
        parts = self._parts(key) if entry.slices else [(_whole(spec), entry)]
        for box, part in parts:
            shape = slices.box_shape(box)
            self._verify_whole(key, part, TensorSpec(spec.dtype, shape))

    def read_block(self, key: str, block: tuple[slice, ...]) -> Array:
        """Return a rectangular part; see `Checkpoint.read_block`."""
        entry, spec = self._entry(key)
        wanted = resolve_block(block, spec.shape)
        if spec.dtype.storage is None:
            return contiguous(part_of(self.read(key), block))
        if not entry.slices:
            return self._region(key, entry, spec).read_block(wanted)
        result = np.empty(slices.box_shape(wanted), spec.dtype.storage)
        for box, part in self._parts(key):
            shared = slices.intersect(box, wanted)
            if shared is not None:
                inside, place = shared
                region = self._region(key, part, TensorSpec(spec.dtype, slices.box_shape(box)))
                result[place] = region.read_block(inside)
        return contiguous(result)

    def read_each(self, keys: Iterable[str]) -> Iterator[tuple[str, Array]]:
        """Yield each tensor, in the order in which they lie in the data files; see `Checkpoint.read_each`."""
        plain: list[tuple[int, int, str]] = []
        others: list[str] = []
        for key in keys:
            entry, spec = self._entry(key)
            if entry.slices or spec.dtype.storage is None:
                others.append(key)
            else:
                plain.append((entry.shard, entry.offset, key))
        regions = ((key, self._region(key, *self._entry(key))) for _, _, key in sorted(plain))
        yield from read_together(regions)
        for key in others:
            yield key, self.read(key)

    def read_ranges(self, key: str, axis: int, length: int) -> Iterator[Array]:
        """Yield one tensor in ranges; see `Checkpoint.read_ranges`."""
        entry, spec = self._entry(key)
        if entry.slices or spec.dtype.storage is None:
            yield from super().read_ranges(key, axis, length)
        else:
            yield from self._region(key, entry, spec).read_ranges(axis, length)

    def close(self) -> None:
        """Close the data files."""
        self._index.shards.close()

    def _entry(self, key: str) -> tuple[BundleEntry, TensorSpec]:
        spec = self.specs[key]
        if spec.dtype.name in ("resource", "variant"):
            with naming(self._index_path, key):
                raise Malformed(
                    "bundle/not-data", f"its type is {spec.dtype.name}, which is not data that can be read"
                )
        return self._index.entries[key], spec

    def _parts(self, key: str) -> list[tuple[Block, BundleEntry]]:
        return self._index.parts[key]

    def _region(self, key: str, entry: BundleEntry, spec: TensorSpec) -> Region:
        file = self._index.shards.file(entry.shard)
        return Region(file, entry.offset, spec, entry.crc, key, swapped=self._swapped)

    def _read_whole(self, key: str, entry: BundleEntry, spec: TensorSpec) -> Array:
        if spec.dtype.storage is not None:
            return self._region(key, entry, spec).read()
        file = self._index.shards.file(entry.shard)
        with naming_data(file.path, key):
            place = (file, entry.offset, entry.size, spec.size, entry.crc)
            return contiguous(read_strings(*place, big_endian=self._index.big_endian).reshape(spec.shape))

    def _verify_whole(self, key: str, entry: BundleEntry, spec: TensorSpec) -> None:
        if spec.dtype.storage is not None:
            self._region(key, entry, spec).verify()
            return
        file = self._index.shards.file(entry.shard)
        with naming_data(file.path, key):
            place = (file, entry.offset, entry.size, spec.size, entry.crc)
            verify_strings(*place, big_endian=self._index.big_endian)


def _whole(spec: TensorSpec) -> Block:
    return tuple((0, size) for size in spec.shape)
