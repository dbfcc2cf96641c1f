"""Describes an HDF5 file as JSON, in a process of its own: a damaged file can crash the HDF5 library.

Run as a program: ``python -P child.py OFFSET SIZE < FILE`` reads the HDF5 file that begins at byte OFFSET of
FILE and prints one JSON document. Only the structure is read; where the numbers lie is printed, and the
parent process reads them itself. No link is followed out of the file and no plug-in is loaded. This file
imports nothing of porter, so that a crash takes nothing with it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

resource: Any
try:
    import resource
except ImportError:  # Windows
    resource = None

# What a Keras file holds is far below each of these.
_MOST_OBJECTS = 50_000
_MOST_DEPTH = 48
_MOST_AXES = 32
_MOST_CHUNKS = 200_000
_MOST_ATTRIBUTE_BYTES = 64 << 20
_MOST_MEMORY = 2 << 30
_MOST_SECONDS = 20
_LONGEST_MESSAGE = 160

_ATTRIBUTES = ("layer_names", "weight_names", "model_config", "keras_version", "backend", "name", "dtype")
_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32"}
_FILTER_NAMES = {4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf", 32001: "blosc"}


class Refused(Exception):  # noqa: N818  (it becomes a line of the output)
    """The file holds something that is not read, or claims what cannot be."""

    def __init__(self, code: str, problem: str, path: str = "", found: object = None) -> None:
        super().__init__(problem)
        self.document = {"code": code, "problem": problem, "path": path, "found": found}


def _read_at(descriptor: int, view: memoryview, offset: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [view], offset)
    with open(descriptor, "rb", buffering=0, closefd=False) as file:
        file.seek(offset)
        return file.readinto(view) or 0


class EmbeddedFile:
    """The bytes of one file inside another, as a file object that h5py reads from."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self._size = size
        self._position = 0

    def seek(self, position: int, whence: int = 0) -> int:
        """Move to `position`, counted from the start (0), from here (1) or from the end (2)."""
        self._position = position + (0, self._position, self._size)[whence]
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; h5py takes an object without this method for a path."""
        left = max(0, self._size - self._position)
        data = bytearray(left if size < 0 else min(size, left))
        return bytes(data[: self.readinto(data)])

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`; bytes behind the end are left as they are."""
        view = memoryview(buffer).cast("B")[: max(0, self._size - self._position)]
        count = _read_at(self._descriptor, view, self._offset + self._position) if len(view) else 0
        self._position += count
        return count


class Describer:
    """Walks one open file and collects its groups and datasets."""

    def __init__(self, h5py: Any) -> None:
        self._h5py = h5py
        self._attribute_bytes = 0
        self._chunks = 0
        self._seen: set[int] = set()
        self.groups: list[dict[str, Any]] = []
        self.datasets: list[dict[str, Any]] = []

    def group(self, group: Any, path: str, depth: int) -> None:
        """Add a group and everything below it."""
        if depth > _MOST_DEPTH:
            raise Refused("hdf5/too-deep", f"groups are nested more than {_MOST_DEPTH} deep", path)
        self.groups.append({"path": path, "attributes": self._attributes(group, path)})
        for name, text in self._names(group, path):
            inner = f"{path}/{text}" if path else text
            if len(self.groups) + len(self.datasets) > _MOST_OBJECTS:
                raise Refused("hdf5/too-many-objects", f"there are more than {_MOST_OBJECTS} objects", inner)
            self._require_hard(group, name, inner)
            opened = self._h5py.h5o.open(group, name)
            if isinstance(opened, self._h5py.h5g.GroupID):
                self._require_unseen(opened, inner)
                self.group(opened, inner, depth + 1)
            elif isinstance(opened, self._h5py.h5d.DatasetID):
                self.datasets.append(self._dataset(opened, inner))

    def _names(self, group: Any, path: str) -> Iterator[tuple[bytes, str]]:
        if group.get_num_objs() > _MOST_OBJECTS:
            raise Refused("hdf5/too-many-objects", "a group claims too many members", path)
        for name in list(group):
            text = name.decode("utf-8", "surrogateescape")
            if not name or "/" in text or text in (".", ".."):
                raise Refused("hdf5/bad-name", "a member of a group has a name that no path can hold", path)
            yield name, text

    def _require_hard(self, group: Any, name: bytes, path: str) -> None:
        kind = group.links.get_info(name).type
        if kind == self._h5py.h5l.TYPE_SOFT:
            raise Refused("hdf5/soft-link", "a soft link stands in the place of an object", path)
        if kind != self._h5py.h5l.TYPE_HARD:
            raise Refused("hdf5/external-link", "a link leads out of the file", path)

    def _require_unseen(self, opened: Any, path: str) -> None:
        address = self._h5py.h5o.get_info(opened).addr
        if address in self._seen:
            raise Refused("hdf5/shared-group", "a group is a member of two groups, or of itself", path)
        self._seen.add(address)

    def _attributes(self, opened: Any, path: str) -> dict[str, Any]:
        h5a = self._h5py.h5a
        found = {}
        if h5a.get_num_attrs(opened) > _MOST_OBJECTS:
            raise Refused("hdf5/too-many-attributes", "an object claims too many attributes", path)
        names: list[bytes] = []
        h5a.iterate(opened, lambda name, *_: names.append(name))
        for name in names:
            text = name.decode("utf-8", "surrogateescape")
            if text.rstrip("0123456789") in _ATTRIBUTES:
                value = self._strings(opened, name, f"{path}@{text}")
                if value is not None:
                    found[text] = value
        return found

    def _strings(self, owner: Any, name: bytes, path: str) -> str | list[str] | None:
        """Return the attribute's string or list of strings, or None if it holds something else."""
        attribute = self._h5py.h5a.open(owner, name)
        if not isinstance(attribute.get_type(), self._h5py.h5t.TypeStringID):
            return None
        is_null = attribute.get_space().get_simple_extent_type() == self._h5py.h5s.NULL
        if is_null or not _product(attribute.shape):
            return []
        self._count_attribute(16 * _product(attribute.shape), path)
        self._count_attribute(attribute.get_storage_size(), path)
        if len(attribute.shape) > 1:
            return None
        is_dataset = isinstance(owner, self._h5py.h5d.DatasetID)
        shown = self._h5py.Dataset(owner) if is_dataset else self._h5py.Group(owner)
        texts = self._texts(shown.attrs, name)
        self._count_attribute(sum(map(len, texts)), path)
        return texts if attribute.shape else texts[0]

    def _texts(self, attributes: Any, name: bytes) -> list[str]:
        value = attributes[name.decode("utf-8", "surrogateescape")]
        items = value.tolist() if hasattr(value, "tolist") else value
        items = items if isinstance(items, list) else [items]
        return [
            item.decode("utf-8", "surrogateescape") if isinstance(item, bytes) else str(item)
            for item in items
        ]

    def _count_attribute(self, size: int, path: str) -> None:
        self._attribute_bytes += size
        if self._attribute_bytes > _MOST_ATTRIBUTE_BYTES:
            raise Refused("hdf5/huge-attribute", "attributes claim implausibly many bytes", path, size)

    def _dataset(self, opened: Any, path: str) -> dict[str, Any]:
        space, plan = opened.get_space(), opened.get_create_plist()
        kind = space.get_simple_extent_type()
        if kind == self._h5py.h5s.NULL or space.get_simple_extent_ndims() > _MOST_AXES:
            raise Refused("hdf5/bad-shape", "a dataset has no shape that a tensor could have", path)
        shape = [] if kind == self._h5py.h5s.SCALAR else list(space.get_simple_extent_dims())
        if plan.get_external_count():
            raise Refused("hdf5/external-storage", "its bytes are kept in another file", path)
        dtype = opened.get_type()
        name, big_endian = self._dtype(opened, dtype)
        return {
            "path": path,
            "shape": shape,
            "dtype": name,
            "big_endian": big_endian,
            "itemsize": dtype.get_size(),
            "storage": self._storage(opened, plan, path, is_readable=name not in ("string", "variant")),
        }

    def _dtype(self, opened: Any, dtype: Any) -> tuple[str, bool]:
        """Return TensorFlow's name of the element type and whether its words are big-endian."""
        h5t = self._h5py.h5t
        for name, little, big in (
            ("float16", "IEEE_F16LE", "IEEE_F16BE"),
            ("float32", "IEEE_F32LE", "IEEE_F32BE"),
            ("float64", "IEEE_F64LE", "IEEE_F64BE"),
            *((f"int{bits}", f"STD_I{bits}LE", f"STD_I{bits}BE") for bits in (8, 16, 32, 64)),
            *((f"uint{bits}", f"STD_U{bits}LE", f"STD_U{bits}BE") for bits in (8, 16, 32, 64)),
        ):
            if dtype.equal(getattr(h5t, little)):
                return name, False
            if dtype.equal(getattr(h5t, big)):
                return name, True
        if isinstance(dtype, h5t.TypeStringID):
            return "string", False
        if isinstance(dtype, h5t.TypeEnumID) and dtype.get_size() == 1 and dtype.dtype == bool:
            return "bool", False
        # Keras 3 has no HDF5 type for bfloat16: it stores opaque words and says so in an attribute.
        if isinstance(dtype, h5t.TypeOpaqueID) and dtype.get_size() == 2 and self._says_bfloat16(opened):
            return "bfloat16", False
        return "variant", False

    def _says_bfloat16(self, opened: Any) -> bool:
        return self._h5py.h5a.exists(opened, b"dtype") and self._strings(opened, b"dtype", "") == "bfloat16"

    def _storage(self, opened: Any, plan: Any, path: str, *, is_readable: bool) -> dict[str, Any]:
        layout, h5d = plan.get_layout(), self._h5py.h5d
        if layout == h5d.VIRTUAL:
            raise Refused("hdf5/virtual-dataset", "it is a view of datasets in other places", path)
        if not is_readable:
            return {"kind": "none"}
        if layout == h5d.COMPACT:
            return {"kind": "compact", "bytes": self._compact(opened, path)}
        if layout == h5d.CONTIGUOUS:
            self._filters(plan, path, allowed=())
            return {"kind": "contiguous", "offset": opened.get_offset(), "size": opened.get_storage_size()}
        if layout != h5d.CHUNKED:
            raise Refused("hdf5/unknown-layout", "its layout is none that HDF5 has", path, layout)
        filters = self._filters(plan, path, allowed=tuple(_FILTERS))
        chunks: list[list[Any]] = []

        def collect(info: Any) -> None:
            self._chunks += 1
            if self._chunks > _MOST_CHUNKS:
                raise Refused("hdf5/too-many-chunks", f"there are more than {_MOST_CHUNKS} chunks", path)
            place = [int(start) for start in info.chunk_offset]
            chunks.append([place, info.byte_offset, info.size, info.filter_mask])

        opened.chunk_iter(collect)
        return {"kind": "chunked", "chunk": list(plan.get_chunk()), "filters": filters, "chunks": chunks}

    def _compact(self, opened: Any, path: str) -> str:
        if opened.get_storage_size() > 1 << 16:
            raise Refused("hdf5/bad-size", "a dataset in an object header claims more than 64 KiB", path)
        import numpy as np  # noqa: PLC0415  (the h5py beside it has loaded it)

        dtype = opened.get_type()
        count = opened.get_space().get_simple_extent_npoints()
        if count * dtype.get_size() > 1 << 16:
            raise Refused("hdf5/bad-size", "a dataset in an object header claims more than 64 KiB", path)
        words = np.zeros(count, f"V{dtype.get_size()}")
        space = self._h5py.h5s.create_simple((count,))
        opened.read(space, self._h5py.h5s.ALL, words, dtype)
        return base64.b64encode(words.tobytes()).decode()

    def _filters(self, plan: Any, path: str, allowed: tuple[int, ...]) -> list[str]:
        found = []
        for number in range(plan.get_nfilters()):
            code = plan.get_filter(number)[0]
            if code not in allowed:
                name = _FILTERS.get(code) or _FILTER_NAMES.get(code, f"number {code}")
                raise Refused(
                    "hdf5/unsupported-filter", "its bytes went through a filter that is not read", path, name
                )
            found.append(_FILTERS[code])
        return found


def _product(lengths: tuple[int, ...]) -> int:
    result = 1
    for length in lengths:
        result *= length
    return result


def describe(descriptor: int, offset: int, size: int) -> dict[str, Any]:
    """Return the document that is printed: groups and datasets, or the reason of a refusal."""
    try:
        import h5py  # noqa: PLC0415  (only this process may load it)
    except ImportError as error:
        return {"code": "hdf5/no-h5py", "problem": str(error), "path": "", "found": None}
    describer = Describer(h5py)
    try:
        with h5py.File(EmbeddedFile(descriptor, offset, size), "r") as file:
            describer.group(file.id, "", 0)
    except Refused as refused:
        return refused.document
    except Exception as error:  # noqa: BLE001  (h5py raises a dozen types; each means that the file is damaged)
        text = f"{type(error).__name__}: {error}".splitlines()[0][:_LONGEST_MESSAGE]
        return {"code": "hdf5/damaged", "problem": "the HDF5 library refuses it", "path": "", "found": text}
    return {"groups": describer.groups, "datasets": describer.datasets}


def limit() -> None:
    """Bound memory and processor time, and leave no core file behind, as far as the system can."""
    if resource is None:
        return
    for which, most in (
        (resource.RLIMIT_AS, _MOST_MEMORY),
        (resource.RLIMIT_CPU, _MOST_SECONDS),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(which)
        # macOS refuses some of them; the parent's patience is a limit, too.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(which, (most if hard < 0 else min(most, hard), hard))


def main() -> None:
    """Describe what the arguments name."""
    limit()
    offset, size = map(int, sys.argv[1:3])
    # One piece: json.dump writes hundreds, and the parent would wake for each.
    sys.stdout.write(json.dumps(describe(sys.stdin.fileno(), offset, size)))


if __name__ == "__main__":
    main()
