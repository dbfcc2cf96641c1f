"""A folder that appears under its name whole, or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from porter.errors import OutputError
from porter.transfer.atomic_file import output_error, write_whole
from porter.transfer.folder import sync_folder


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a hidden folder beside `path` that takes this name when the block ends without an error.

    Args:
        path: The final name: not there yet, or an empty folder.

    Raises:
        OutputError: the name is taken, or the folder cannot be written.
    """
    _refuse_taken(path)
    hidden = path.absolute().parent / f".porter.{os.urandom(4).hex()}.tmp"
    try:
        try:
            hidden.mkdir()
        except OSError as error:
            raise output_error(error, path) from error
        yield hidden
        sync_folder(hidden)
        try:
            _rename(hidden, path)
        except OSError as error:
            raise output_error(error, path) from error
        sync_folder(path.absolute().parent)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def require_new(path: Path) -> None:
    """Look whether a folder could be made, and change nothing.

    Raises:
        OutputError: it could not.
    """
    _refuse_taken(path)
    parent = path.absolute().parent
    try:
        if not stat.S_ISDIR(parent.stat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "no folder")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "no permission")
    except OSError as error:
        raise output_error(error, path) from error


def write_json(path: Path, values: Mapping[str, object]) -> None:
    """Write one JSON document and bring it to the disk.

    Raises:
        OutputError: the disk refused.
    """
    write_whole(path, json.dumps(values, indent=2, sort_keys=True, allow_nan=False) + "\n")


def _refuse_taken(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise OutputError("output/not-a-folder", "is there and is no folder", file=path)
    if path.is_dir() and any(path.iterdir()):
        raise OutputError(
            "output/not-empty", "the folder is not empty", file=path, hint="Name one that is not there yet."
        )


def _rename(hidden: Path, path: Path) -> None:
    try:
        hidden.rename(path)
    except FileExistsError:
        path.rmdir()  # Windows does not rename onto a folder, not even an empty one; a full one stays
        hidden.rename(path)
