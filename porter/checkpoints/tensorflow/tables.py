"""Which of TensorFlow's two formats a leveldb table belongs to, and the names beside a path."""

from __future__ import annotations

import re
from pathlib import Path

from porter.formats import magic
from porter.formats.files import RegularFile
from porter.formats.malformed import naming
from porter.formats.sstable import LARGEST_BLOCK, LARGEST_V1_BLOCK, Table

INDEX = ".index"
# Compiled when first needed: most checkpoints are opened without it.
_DATA_FILE = r"(.+)\.data-\d{5,}-of-\d{5,}"
_FIRST_IS_MESSAGE = b"\x0a"


def is_index(file: Path) -> bool:
    """Whether `file` is the index of a TensorBundle, whatever it is called.

    Raises:
        CheckpointError: it is a table, and damaged.
    """
    return magic.is_table(file) and not _holds_slices(file)


def is_v1(file: Path) -> bool:
    """Whether `file` is a V1 checkpoint or one of its files.

    Raises:
        CheckpointError: it is a table, and damaged.
    """
    return magic.is_table(file) and _holds_slices(file)


def _holds_slices(file: Path) -> bool:
    """Whether a table holds V1 tensors: by the first field of its first value."""
    with naming(file):
        handle = RegularFile(file)
        try:
            limit = LARGEST_BLOCK if file.name.endswith(INDEX) else LARGEST_V1_BLOCK
            first = Table(handle, limit).get(b"")
        finally:
            handle.close()
    return first is not None and first[:1] == _FIRST_IS_MESSAGE


def prefix_of_data(name: str) -> str | None:
    """Return the prefix in the name of a TensorBundle's data file, or None if it is not called like one."""
    match = re.fullmatch(_DATA_FILE, name, re.DOTALL) if ".data-" in name else None
    return None if match is None else match[1]


def prefixes_in(directory: Path) -> list[str]:
    """Return the prefixes of the TensorBundles in `directory`, sorted."""
    return sorted(name.removesuffix(INDEX) for name in names_in(directory) if name.endswith(INDEX))


def names_in(directory: Path) -> list[str]:
    """Return the names in `directory`; none if it cannot be listed."""
    try:
        return [entry.name for entry in directory.iterdir()]
    except (OSError, ValueError):
        return []
