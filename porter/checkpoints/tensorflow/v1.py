"""V1 checkpoints of TensorFlow 1: tables of SavedTensorSlices, in one file or several.

Source of the format: tensorflow/core/util/saved_tensor_slice.proto and tensor_slice_writer.cc.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from porter.checkpoints.tensorflow.messages import parse_shape, parse_slice, require_readable_version
from porter.checkpoints.tensorflow.tensor_protos import parse_values
from porter.checkpoints.tensorflow.trackable_graph import graph_from_names, text
from porter.core.checkpoint import Array, Checkpoint, TensorSpec, contiguous
from porter.core.dtypes import BY_NUMBER
from porter.core.object_graph import ObjectGraph
from porter.errors import printable
from porter.formats import slices
from porter.formats.blocks import Block, part_of, resolve_block
from porter.formats.files import RegularFile
from porter.formats.malformed import Malformed, naming
from porter.formats.ordered_code import Extents, encode_slice_key
from porter.formats.protobuf import Buffer, expect_unknown, fields
from porter.formats.sstable import LARGEST_V1_BLOCK, Table

_META, _DATA = 0x0A, 0x12


class _Part:
    """One stored slice: which file it is in, its key there, and its place in the tensor."""

    __slots__ = ("box", "key", "table")

    def __init__(self, table: Table, key: bytes, box: Block) -> None:
        self.table = table
        self.key = key
        self.box = box


class TensorSlices(Checkpoint):
    """An open V1 checkpoint.

    Tensors lie in compressed blocks whose checksums are verified on every access, so `read_block` reads
    the tensor whole; the last one is kept.
    """

    specs: Mapping[str, TensorSpec]

    def __init__(self, path: Path, files: tuple[Path, ...], container: str = "V1 checkpoint") -> None:
        """Open the files of one checkpoint.

        Args:
            path: What the user named.
            files: Every file of the checkpoint.
            container: What to call it in `format`.

        Raises:
            CheckpointError: a file is damaged, or the slices in them do not make whole tensors.
        """
        self.path = path
        self.files = files
        self.format = f"{container} (TF1 tensor slices)"
        self._last: tuple[str, Array] | None = None
        self._parts: dict[str, list[_Part]] = {}
        found: dict[str, TensorSpec] = {}
        for file in files:
            with naming(file):
                table = Table(RegularFile(file), LARGEST_V1_BLOCK)
                self._add(table, found)
        self.specs = dict(sorted(found.items()))
        for name, spec in self.specs.items():
            with naming(files[0], name):
                slices.require_cover([part.box for part in self._parts[name]], spec.shape)

    @cached_property
    def graph(self) -> ObjectGraph:  # type: ignore[override]  # lazy, as in Bundle
        """A tree of the names; V1 checkpoints store no object graph."""
        with naming(self.files[0]):
            return graph_from_names(self.specs)

    def read(self, key: str) -> Array:
        """Return the whole tensor; see `Checkpoint.read`."""
        spec, parts = self.specs[key], self._parts[key]
        if len(parts) == 1:
            return contiguous(self._read_part(key, spec, parts[0]))
        result = np.empty(spec.shape, spec.dtype.storage or object)
        for part in parts:
            result[tuple(slice(start, stop) for start, stop in part.box)] = self._read_part(key, spec, part)
        return contiguous(result)

    def verify(self, key: str) -> None:
        """Check the checksum of every block that holds a part of the tensor."""
        for part in self._parts[key]:
            with naming(part.table.file.path, key):
                part.table.verify(part.key)

    def read_block(self, key: str, block: tuple[slice, ...]) -> Array:
        """Return a rectangular part; see `Checkpoint.read_block`."""
        resolve_block(block, self.specs[key].shape)
        if self._last is None or self._last[0] != key:
            self._last = None  # never two tensors at once
            self._last = key, self.read(key)
        return contiguous(part_of(self._last[1], block))

    def close(self) -> None:
        """Close every file."""
        self._last = None
        for parts in self._parts.values():
            for part in parts:
                part.table.file.close()

    def _add(self, table: Table, found: dict[str, TensorSpec]) -> None:
        for name, spec, extents in _read_meta(table):
            if found.setdefault(name, spec) != spec:
                raise Malformed(
                    "v1/contradiction", "two files disagree on its shape or dtype", found=printable(name)
                )
            parts = self._parts.setdefault(name, [])
            for extent in extents or ((((0, -1),) * len(spec.shape)),):
                key = encode_slice_key(name.encode("utf-8", "surrogateescape"), extent)
                parts.append(_Part(table, key, slices.resolve(extent, spec.shape)))

    def _read_part(self, name: str, spec: TensorSpec, part: _Part) -> Array:
        shape = slices.box_shape(part.box)
        with naming(part.table.file.path, name):
            value = part.table.get(part.key)
            if value is None:
                raise Malformed("v1/missing-slice", "its data is not in the file", expected=part.box)
            data = _saved_slice(memoryview(value), name)
            return parse_values(data, spec.dtype, math.prod(shape)).reshape(shape)


def _read_meta(table: Table) -> list[tuple[str, TensorSpec, list[Extents]]]:
    meta = table.get(b"")
    if meta is None:
        raise Malformed("v1/no-meta", "the file has no list of tensors")
    found = []
    for tag, value in fields(meta):
        if tag == _META:
            for inner, content in fields(value):
                if inner == 0x0A:
                    found.append(_saved_slice_meta(content))
                elif inner == 0x12:
                    require_readable_version(content)
                else:
                    expect_unknown(inner, 2, "SavedTensorSliceMeta")
        else:
            expect_unknown(tag, 2, "SavedTensorSlices")
    return found


def _saved_slice_meta(data: Buffer) -> tuple[str, TensorSpec, list[Extents]]:
    name, number = "", 0
    shape: tuple[int, ...] = ()
    extents: list[Extents] = []
    for tag, value in fields(data):
        if tag == 0x0A:
            name = text(value)
        elif tag == 0x12:
            shape = parse_shape(value)
        elif tag == 0x18:
            number = value
        elif tag == 0x22:
            extents.append(parse_slice(value))
        else:
            expect_unknown(tag, 4, "SavedSliceMeta")
    dtype = BY_NUMBER.get(number)
    if dtype is None:
        raise Malformed(
            "v1/unknown-dtype", f"{printable(name)} has an element type that does not exist", found=number
        )
    return name, TensorSpec(dtype, shape), extents


def _saved_slice(value: Buffer, name: str) -> Buffer:
    """Return the TensorProto inside a SavedTensorSlices value."""
    found = ""
    data: Buffer | None = None
    for tag, content in fields(value):
        if tag == _DATA:
            for inner, field in fields(content):
                if inner == 0x0A:
                    found = text(field)
                elif inner == 0x1A:
                    data = field
    if data is None or found != name:
        raise Malformed(
            "v1/wrong-slice", "the data under its key is of another tensor", found=printable(found)
        )
    return data
