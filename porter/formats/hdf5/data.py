"""The numbers of HDF5 datasets, read without the HDF5 library from where they lie.

Source of the layouts: HDF5 File Format Specification 3.0, "Data Storage"; of the filters: "Filter Pipeline".
"""

from __future__ import annotations

import base64
import itertools
import math
import zlib
from collections.abc import Mapping

import numpy as np

from porter.core.checkpoint import Array, contiguous
from porter.errors import printable
from porter.formats.blocks import Block, part_of, resolve_block
from porter.formats.files import RegularFile
from porter.formats.hdf5.description import Stored
from porter.formats.malformed import Malformed, naming
from porter.formats.region import Region
from porter.formats.slices import box_shape, intersect

# No deflate stream expands more than this (zlib's documentation, "maximum compression factor").
_MOST_EXPANSION = 1032
_LARGEST_CHUNK = 1 << 30
_NO_CHECKSUM = 0
_CHECKSUM_BYTES, _FLETCHER = 4, 65535
_PIECE = 1 << 20  # even, and so small that sums of products stay below 2**63


class Hdf5Data:
    """The bytes of one HDF5 file's datasets.

    Args:
        file: The file that holds them.
        base: Byte at which the HDF5 file begins (not 0 inside a ``.keras`` archive).
        size: Bytes of the HDF5 file.
        datasets: What the file holds, by path.

    Raises:
        Malformed: a dataset claims bytes that the file does not have, or two claim the same.
    """

    def __init__(self, file: RegularFile, base: int, size: int, datasets: Mapping[str, Stored]) -> None:
        self._file = file
        self._base = base
        self._datasets = datasets
        runs: list[tuple[int, int, str]] = []
        for path, stored in datasets.items():
            runs += [(start, stop, path) for start, stop in _runs(path, stored)]
        _require_apart(runs, size)

    def read(self, path: str, block: tuple[slice, ...]) -> Array:
        """Return the rectangular part `block` of the dataset at `path`, C-contiguous and read-only."""
        stored = self._datasets[path]
        wanted = resolve_block(block, stored.spec.shape)
        with naming(self._file.path, path):
            kind = stored.storage["kind"]
            if kind == "none":
                raise Malformed(
                    "hdf5/not-numbers",
                    "its elements are no numbers: strings and compound types are listed and not read",
                    found=stored.spec.dtype.name,
                )
            if kind == "contiguous":
                return self._region(path, stored).read_block(wanted)
            if kind == "compact":
                whole = _elements(base64.b64decode(stored.storage["bytes"]), stored, stored.spec.shape)
                return contiguous(part_of(whole, block))
            return self._read_chunks(stored, wanted)

    def _region(self, path: str, stored: Stored) -> Region:
        offset = self._base + (stored.storage["offset"] or 0)
        return Region(self._file, offset, stored.spec, _NO_CHECKSUM, path, swapped=stored.big_endian)

    def _read_chunks(self, stored: Stored, wanted: Block) -> Array:
        result = np.empty(box_shape(wanted), stored.spec.dtype.storage)
        chunk = tuple(stored.storage["chunk"])
        for place, offset, size, mask in stored.storage["chunks"]:
            ends = zip(place, chunk, stored.spec.shape, strict=True)
            box = tuple((start, min(start + length, whole)) for start, length, whole in ends)
            shared = intersect(box, wanted)
            if shared is None:
                continue
            inside, target = shared
            values = self._chunk(stored, chunk, offset, size, mask)
            result[target] = values[tuple(slice(start, stop) for start, stop in inside)]
        return contiguous(result)

    def _chunk(self, stored: Stored, chunk: tuple[int, ...], offset: int, size: int, mask: int) -> Array:
        data = self._file.read(self._base + offset, size)
        itemsize = stored.spec.dtype.itemsize or 1
        wanted = math.prod(chunk) * itemsize
        checksum = _CHECKSUM_BYTES if "fletcher32" in stored.storage["filters"] else 0
        for number, name in reversed(list(enumerate(stored.storage["filters"]))):
            if mask >> number & 1:  # a set bit: the writer left this filter out for this chunk
                continue
            if name == "deflate":
                data = _inflated(data, wanted + checksum)
            elif name == "shuffle":
                data = _unshuffled(data, itemsize)
            else:
                data = _verified(data)
        if len(data) != wanted:
            raise Malformed(
                "hdf5/bad-chunk", "a chunk has another size than its shape", expected=wanted, found=len(data)
            )
        return _elements(data, stored, chunk)


def _runs(path: str, stored: Stored) -> list[tuple[int, int]]:
    """Return first and last + 1 byte of every run that the dataset claims, checked against its shape."""
    storage, spec = stored.storage, stored.spec
    where = f"'{printable(path)}'"
    if storage["kind"] == "contiguous":
        if not spec.nbytes:
            return []
        if storage["offset"] is None or storage["size"] != spec.nbytes:
            raise Malformed(
                "hdf5/bad-size",
                f"{where} has another number of bytes than its shape says",
                expected=spec.nbytes,
                found=storage["size"] if storage["offset"] is not None else "none: it was never written",
            )
        return [(storage["offset"], storage["offset"] + spec.nbytes)]
    if storage["kind"] == "compact":
        found = len(base64.b64decode(storage["bytes"]))
        if found != spec.nbytes:
            raise Malformed(
                "hdf5/bad-size", f"{where} has another number of bytes", expected=spec.nbytes, found=found
            )
        return []
    return _chunk_runs(where, stored) if storage["kind"] == "chunked" else []


def _chunk_runs(where: str, stored: Stored) -> list[tuple[int, int]]:
    chunk, spec, storage = tuple(stored.storage["chunk"]), stored.spec, stored.storage
    itemsize = spec.dtype.itemsize or 1
    whole = math.prod(chunk) * itemsize
    if len(chunk) != len(spec.shape) or not 0 < whole <= _LARGEST_CHUNK:
        raise Malformed("hdf5/bad-chunk", f"{where} has chunks that no writer makes", found=chunk)
    counts = [-(-length // step) for length, step in zip(spec.shape, chunk, strict=True)]
    if math.prod(counts) != len(storage["chunks"]):
        raise Malformed(
            "hdf5/missing-chunks",
            f"{where} was not written in full",
            expected=f"{math.prod(counts)} chunks",
            found=len(storage["chunks"]),
        )
    grid = set(
        itertools.product(*(range(0, length, step) for length, step in zip(spec.shape, chunk, strict=True)))
    )
    if {tuple(place) for place, *_ in storage["chunks"]} != grid:
        raise Malformed("hdf5/bad-chunk", f"{where} has a chunk outside its grid, or two in one place")
    most = _MOST_EXPANSION if "deflate" in storage["filters"] else 1
    for _, _, size, _ in storage["chunks"]:
        if whole > max(size, 64) * most:
            raise Malformed(
                "hdf5/bad-chunk",
                f"{where} has a chunk far smaller than its shape",
                expected=whole,
                found=size,
            )
    return [(offset, offset + size) for _, offset, size, _ in storage["chunks"]]


def _require_apart(runs: list[tuple[int, int, str]], size: int) -> None:
    reached, before = 0, ""
    for start, stop, path in sorted(runs):
        if stop > size:
            raise Malformed(
                "hdf5/outside-file",
                f"'{printable(path)}' lies outside the file",
                expected=f"at most {size} bytes",
                found=stop,
                hint="The file is cut off or damaged: get it again.",
            )
        if start < reached:
            raise Malformed(
                "hdf5/overlap",
                f"'{printable(before)}' and '{printable(path)}' claim the same bytes",
                hint="The file is damaged: get it again.",
            )
        reached, before = stop, path


def _inflated(data: bytes, size: int) -> bytes:
    """Undo deflate; never hold more than one byte above `size`."""
    stream = zlib.decompressobj()
    try:
        found = stream.decompress(data, size + 1)
    except zlib.error as error:
        raise Malformed("hdf5/bad-deflate", f"a chunk does not decompress ({error})") from error
    if len(found) > size or not stream.eof:
        raise Malformed("hdf5/bad-deflate", "a chunk decompresses to another size than its shape")
    return found


def _verified(data: bytes) -> bytes:
    """Check and drop the checksum behind a chunk: Fletcher's sums of big-endian words modulo 65535."""
    content, stored = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    first = second = 0
    for start in range(0, len(content), _PIECE):
        piece = content[start : start + _PIECE]
        words = np.frombuffer(piece + b"\0" * (len(piece) % 2), ">u2").astype(np.int64)
        second = (second + len(words) * first + int(words @ np.arange(len(words), 0, -1))) % _FLETCHER
        first = (first + int(words.sum())) % _FLETCHER
    claimed = int.from_bytes(stored, "little")
    if len(stored) < _CHECKSUM_BYTES or (second, first) != (
        (claimed >> 16) % _FLETCHER,
        (claimed & 0xFFFF) % _FLETCHER,
    ):
        raise Malformed(
            "hdf5/bad-checksum",
            "the checksum of a chunk does not match its bytes",
            hint="Get the file again.",
        )
    return content


def _unshuffled(data: bytes, itemsize: int) -> bytes:
    """Undo byte shuffling; what is left over behind whole elements stays in its place."""
    whole = len(data) // itemsize * itemsize
    planes = np.frombuffer(data[:whole], np.uint8).reshape(itemsize, -1)
    return planes.T.tobytes() + data[whole:]


def _elements(data: bytes, stored: Stored, shape: tuple[int, ...]) -> Array:
    """Return the words of `data` in native order, as `Region` does for bytes that lie in a file."""
    storage = np.dtype(stored.spec.dtype.storage)
    values: Array = np.frombuffer(data, storage.newbyteorder(">" if stored.big_endian else "<")).astype(
        storage
    )
    if storage == np.bool_ and len(data) and max(data) > 1:
        raise Malformed("hdf5/bad-bool", "a bool is neither 0 nor 1", found=max(data))
    return values.reshape(shape)
