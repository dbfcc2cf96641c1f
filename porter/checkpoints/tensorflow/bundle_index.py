"""The index of a TensorBundle: every entry parsed and checked before a byte of data is read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from porter.checkpoints.tensorflow.bundle_data import Shards
from porter.checkpoints.tensorflow.messages import BundleEntry, parse_entry, parse_header, parse_shape
from porter.checkpoints.tensorflow.trackable_graph import text
from porter.core.checkpoint import TensorSpec
from porter.core.dtypes import BY_NUMBER
from porter.formats import slices
from porter.formats.blocks import Block
from porter.formats.files import RegularFile
from porter.formats.malformed import Malformed, naming
from porter.formats.ordered_code import decode_slice_key, encode_slice_key
from porter.formats.sstable import Table


class BundleIndex(NamedTuple):
    """What an index says.

    Attributes:
        specs: Key to spec, in key order; slices of a tensor appear as the tensor alone.
        entries: Key to entry.
        parts: Key of a tensor stored in slices to the box and entry of each slice.
        shards: The data files.
        big_endian: Byte order of the stored words.
    """

    specs: dict[str, TensorSpec]
    entries: dict[str, BundleEntry]
    parts: dict[str, list[tuple[Block, BundleEntry]]]
    shards: Shards
    big_endian: bool


def read_index(file: RegularFile, prefix: Path, *, may_be_alone: bool = False) -> BundleIndex:
    """Read and check a whole index.

    Args:
        file: The index.
        prefix: Its path without the suffix.
        may_be_alone: Whether data files may be missing; what is in one cannot be read then.

    Raises:
        CheckpointError: anything in it is damaged or contradicts the data files.
    """
    with naming(file.path):
        pairs = Table(file).entries()
        key, value = next(pairs, (None, b""))
        if key != b"":
            raise Malformed("bundle/no-header", "the index does not start with a bundle header")
        header = parse_header(value)
        return _Builder(file.path, Shards(prefix, header.shards, may_be_missing=may_be_alone)).build(
            pairs, big_endian=header.big_endian
        )


class _Builder:
    """Collects and checks entries; one per index, while it is read."""

    def __init__(self, path: Path, shards: Shards) -> None:
        self._path = path
        self._shards = shards
        self._known: dict[tuple[int, bytes], TensorSpec] = {}
        self._ranges: list[tuple[int, int, int]] = []
        self._parts: dict[str, list[tuple[Block, BundleEntry]]] = {}

    def build(self, pairs: Iterator[tuple[bytes, bytes]], *, big_endian: bool) -> BundleIndex:
        stored = {}
        for key, value in pairs:
            try:
                stored[key] = parse_entry(value)
            except Malformed:
                with naming(self._path, text(key)):
                    raise
        claimed = self._claim_slices(stored)
        specs, entries = {}, {}
        for key, entry in stored.items():
            if key in claimed:
                continue
            name = text(key)
            try:
                specs[name] = self._checked(key, entry)
            except Malformed:
                with naming(self._path, name):
                    raise
            entries[name] = entry
        self._require_apart()
        return BundleIndex(specs, entries, self._parts, self._shards, big_endian)

    def _checked(self, key: bytes, entry: BundleEntry) -> TensorSpec:
        spec = self._spec(entry)
        if not entry.slices:
            self._require_stored(entry, spec)
            if key[0] == 0 and decode_slice_key(key) is not None:
                raise Malformed("slice/orphan", "a slice belongs to no tensor of this checkpoint")
        return spec

    def _spec(self, entry: BundleEntry) -> TensorSpec:
        known = entry.dtype, bytes(entry.shape)
        spec = self._known.get(known)
        if spec is None:
            dtype = BY_NUMBER.get(entry.dtype)
            if dtype is None:
                raise Malformed(
                    "bundle/unknown-dtype", "it has an element type that does not exist", found=entry.dtype
                )
            spec = self._known[known] = TensorSpec(dtype, parse_shape(entry.shape))
        return spec

    def _require_stored(self, entry: BundleEntry, spec: TensorSpec) -> None:
        dtype = spec.dtype
        if dtype.storage is not None and entry.size != spec.nbytes:
            raise Malformed(
                "bundle/wrong-size",
                f"its size does not fit its shape {spec.shape} of {dtype.name}",
                expected=f"{spec.nbytes} bytes",
                found=entry.size,
            )
        if dtype.name == "string" and spec.size > entry.size:
            raise Malformed(
                "bundle/string-count",
                "there are more strings than bytes for them",
                expected=f"at most {entry.size}",
                found=spec.size,
            )
        self._shards.require(entry.shard, entry.offset, entry.size)
        if entry.size:
            self._ranges.append((entry.shard, entry.offset, entry.size))

    def _claim_slices(self, stored: dict[bytes, BundleEntry]) -> set[bytes]:
        """Match the pieces of each tensor that is stored in slices; return their keys."""
        claimed: set[bytes] = set()
        for key, entry in stored.items():
            if entry.slices:
                name = text(key)
                with naming(self._path, name):
                    self._parts[name] = self._claim(key, entry, stored, claimed)
        return claimed

    def _claim(
        self, key: bytes, entry: BundleEntry, stored: dict[bytes, BundleEntry], claimed: set[bytes]
    ) -> list[tuple[Block, BundleEntry]]:
        if key[0] == 0 and decode_slice_key(key) is not None:
            raise Malformed("slice/nested", "a slice is itself stored in slices")
        spec = self._spec(entry)
        parts = []
        for extents in entry.slices:
            part_key = encode_slice_key(key, extents)
            part = stored.get(part_key)
            box = slices.resolve(extents, spec.shape)
            if part is None:
                raise Malformed("slice/missing", "one of its slices is not in the index", expected=box)
            if part_key in claimed:
                raise Malformed("slice/repeated", "one of its slices is listed twice", found=box)
            self._require_part(part, spec, box)
            claimed.add(part_key)
            parts.append((box, part))
        slices.require_cover([box for box, _ in parts], spec.shape)
        return parts

    def _require_part(self, part: BundleEntry, spec: TensorSpec, box: Block) -> None:
        found, expected = self._spec(part), TensorSpec(spec.dtype, slices.box_shape(box))
        if found != expected:
            raise Malformed(
                "slice/wrong-shape",
                "a slice has not the shape or dtype that its tensor gives it",
                expected=f"{expected.dtype.name}{expected.shape}",
                found=f"{found.dtype.name}{found.shape}",
            )
        self._require_stored(part, found)

    def _require_apart(self) -> None:
        """Refuse tensors that share bytes: a small file could then stand for any amount of data."""
        ordered = sorted(self._ranges)
        for (shard, offset, size), (next_shard, next_offset, _) in pairwise(ordered):
            if shard == next_shard and next_offset < offset + size:
                raise Malformed(
                    "bundle/overlapping-tensors",
                    "two tensors share bytes of a data file",
                    found=f"byte {next_offset} of {self._shards.path(shard).name}",
                )
