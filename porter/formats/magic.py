"""What a file is, by its bytes: the containers read here, and what is mistaken for them."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from porter.errors import CheckpointError
from porter.formats.files import RegularFile
from porter.formats.malformed import Malformed, naming
from porter.formats.sstable import FOOTER, MAGIC

_HEAD = 4096

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_LFS = b"version https://git-lfs.github.com/spec/"

# Start of the file, code, what it is.
_FOREIGN = (
    (b"\x1f\x8b", "checkpoint/gzip", "a gzip archive"),
    (b"BZh", "checkpoint/bzip2", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "checkpoint/xz", "an xz archive"),
    (b"\x93NUMPY", "checkpoint/numpy", "a numpy array file (.npy)"),
    (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9", "checkpoint/pytorch", "a PyTorch file"),
    (b"\x80\x02", "checkpoint/pickle", "a Python pickle"),
    (b"\x80\x03", "checkpoint/pickle", "a Python pickle"),
    (b"\x80\x04", "checkpoint/pickle", "a Python pickle"),
    (b"\x80\x05", "checkpoint/pickle", "a Python pickle"),
)
_UNPACK = ("checkpoint/gzip", "checkpoint/bzip2", "checkpoint/xz", "checkpoint/tar", "checkpoint/zip")


def head(path: Path, size: int = _HEAD) -> bytes:
    """Return the first bytes of the regular file `path`.

    Raises:
        CheckpointError: it is not a regular file or cannot be read.
    """
    file = RegularFile(path)
    try:
        return file.read(0, min(size, file.size))
    finally:
        file.close()


def is_table(path: Path) -> bool:
    """Whether the file ends like a leveldb table: a TensorBundle index or a V1 checkpoint."""
    file = RegularFile(path)
    try:
        return file.size >= FOOTER and file.read(file.size - len(MAGIC), len(MAGIC)) == MAGIC
    finally:
        file.close()


def is_keras(path: Path) -> bool:
    """Whether the regular file `path` is HDF5, or a zip archive with what Keras puts into one.

    HDF5 allows a block of the user's own in front: the signature is at 0, 512, 1024, 2048 and so on.
    """
    file = RegularFile(path)
    try:
        start = file.read(0, min(_HEAD, file.size))
        places = [0, *(512 << step for step in range(4))]
        if any(start[place : place + len(_HDF5)] == _HDF5 for place in places):
            return True
        return start.startswith(_ZIP) and _zip_format(start)[0] == "checkpoint/keras"
    finally:
        file.close()


def refuse_pointer(path: Path) -> None:
    """Refuse what often lies in the place of the real file: nothing, a web page, a git-LFS pointer.

    Raises:
        CheckpointError: `path` is one of these.
    """
    start = head(path)
    if not start:
        raise CheckpointError("checkpoint/empty-file", "the file is empty", file=path, hint="Get it again.")
    if start.startswith(_LFS):
        raise CheckpointError(
            "checkpoint/git-lfs-pointer",
            "this is a git-LFS pointer, not the file it points to",
            file=path,
            hint="Run `git lfs pull`, or download the file itself.",
        )
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        raise CheckpointError(
            "checkpoint/web-page",
            "this is a web page, saved in place of the file",
            file=path,
            hint="Download the file itself (on a code host, its raw link).",
        )


class naming_data(naming):  # noqa: N801  (used as a statement, like its base)
    """`naming` for a data file: wrong bytes may be those of a web page or a pointer, so look first."""

    __slots__ = ()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Name the stand-in if there is one; otherwise translate as `naming` does."""
        if isinstance(error, Malformed):
            refuse_pointer(Path(self.file))
        super().__exit__(kind, error, trace)


def refuse_foreign(path: Path) -> None:
    """Refuse the file by the name of its format, if that is known.

    Raises:
        CheckpointError: always, if the format is recognised.
    """
    code, what = _foreign_format(head(path))
    if not code:
        return
    raise CheckpointError(
        code,
        f"this is {what}",
        file=path,
        expected="a TensorFlow checkpoint, a SavedModel, a Keras file, a frozen graph, a model of "
        "TensorFlow Lite or TensorFlow.js",
        hint="Unpack it and name the checkpoint inside."
        if code in _UNPACK
        else "Name the one that it was made from.",
    )


def _foreign_format(start: bytes) -> tuple[str, str]:
    for magic, code, what in _FOREIGN:
        if start.startswith(magic):
            return code, what
    if start.startswith(_ZIP):
        return _zip_format(start)
    if start[257:262] == b"ustar":
        return "checkpoint/tar", "a tar archive"
    if start[8:10] == b'{"' and int.from_bytes(start[:8], "little") < 100 << 20:
        return "checkpoint/safetensors", "a safetensors file"
    return "", ""


def _zip_format(start: bytes) -> tuple[str, str]:
    if b"/data.pkl" in start or b"/version" in start[:200]:
        return "checkpoint/pytorch", "a PyTorch file"
    if any(name in start for name in (b"model.weights.h5", b"metadata.json", b"config.json")):
        return "checkpoint/keras", "a Keras file (.keras)"
    return "checkpoint/zip", "a zip archive"


def exists(path: Path) -> bool:
    """Whether something is at `path`; False if the path is not one the system accepts."""
    try:
        return os.path.lexists(path)
    except ValueError:
        return False
