"""What is in an HDF5 file, found out by a child process: a damaged file can crash the HDF5 library."""

from __future__ import annotations

import importlib.util
import json
import math
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from porter.core.checkpoint import TensorSpec
from porter.core.dtypes import BY_NAME
from porter.errors import MissingDependencyError, printable
from porter.formats.files import RegularFile
from porter.formats.hdf5.reader import ENDED_BY_A_LIMIT, run_child
from porter.formats.malformed import Malformed

Attribute = str | list[str]

_HINTS = {
    "hdf5/unsupported-filter": "HDF5's own tool writes the file without it: h5repack -f NONE IN.h5 OUT.h5."
}
_MOST_BYTES = 1 << 62


@dataclass(frozen=True, slots=True)
class Stored:
    """One dataset.

    Attributes:
        spec: Shape and element type. Strings are dtype string; what no tensor can hold is dtype variant.
        big_endian: Byte order of the words in the file.
        storage: Where the bytes are, as the child process says: ``kind`` and what belongs to it.
    """

    spec: TensorSpec
    big_endian: bool
    storage: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Description:
    """An HDF5 file's structure.

    Attributes:
        groups: Path of each group ("" is the root) to those of its attributes that Keras writes.
        datasets: Path to dataset.
    """

    groups: Mapping[str, Mapping[str, Attribute]]
    datasets: Mapping[str, Stored]


def describe(file: RegularFile, offset: int, size: int) -> Description:
    """Return what the HDF5 file in the bytes from `offset` to ``offset + size`` of `file` holds.

    Raises:
        Malformed: it is damaged, holds what is not read, or crashes or hangs the HDF5 library.
        MissingDependencyError: h5py is not installed.
    """
    document = _ask(file, offset, size)
    if "code" in document:
        _refuse(document)
    datasets = {}
    for entry in document["datasets"]:
        datasets[entry["path"]] = _stored(entry)
    groups = {group["path"]: group["attributes"] for group in document["groups"]}
    return Description(groups, datasets)


def require_h5py() -> None:
    """Check that h5py is installed, without importing it.

    Raises:
        MissingDependencyError: it is not.
    """
    if importlib.util.find_spec("h5py") is None:
        raise MissingDependencyError(
            "hdf5/no-h5py", "Keras HDF5 files need h5py", hint="pip install 'port-weights[hdf5]'"
        )


def _ask(file: RegularFile, offset: int, size: int) -> dict[str, Any]:
    require_h5py()
    try:
        ended = run_child(file.descriptor, offset, size)
    except TimeoutError:
        raise _hangs() from None
    if -ended.code in ENDED_BY_A_LIMIT:
        raise _hangs()
    if ended.code != 0:
        raise Malformed(
            "hdf5/library-crash",
            "the file is damaged: the HDF5 library crashes when it reads it (in a process of its own)",
            found=signal.strsignal(-ended.code) if ended.code < 0 else f"status {ended.code}",
        )
    document: dict[str, Any] = json.loads(ended.document)
    return document


def _hangs() -> Malformed:
    return Malformed(
        "hdf5/library-hang",
        "the file is damaged: the HDF5 library does not come to an end with it (in a process of its own)",
    )


def _refuse(document: Mapping[str, Any]) -> None:
    if document["code"] == "hdf5/no-h5py":
        raise MissingDependencyError(
            "hdf5/no-h5py",
            f"Keras HDF5 files need h5py, which cannot be imported ({document['problem']})",
            hint="pip install 'port-weights[hdf5]'",
        )
    path = f"'{printable(document['path'])}': " if document["path"] else ""
    hint = _HINTS.get(document["code"])
    raise Malformed(document["code"], f"{path}{document['problem']}", found=document["found"], hint=hint)


def _stored(entry: Mapping[str, Any]) -> Stored:
    dtype, shape = BY_NAME[entry["dtype"]], tuple(entry["shape"])
    where = f"'{printable(entry['path'])}'"
    if math.prod(length or 1 for length in shape) * 16 > _MOST_BYTES:
        raise Malformed(
            "hdf5/huge-shape", f"{where} claims more elements than memory can address", found=shape
        )
    spec = TensorSpec(dtype, shape)
    if dtype.storage is not None and dtype.itemsize != entry["itemsize"]:
        raise Malformed("hdf5/bad-type", f"{where} has elements of a size that their type does not have")
    return Stored(spec, entry["big_endian"], entry["storage"])
