"""The binary files of a TensorFlow.js model as one run of bytes for each group of its manifest."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from porter.checkpoints.keras import archive
from porter.errors import printable
from porter.formats.files import RegularFile
from porter.formats.malformed import Malformed

_MOST_SHARDS = 10_000

Opener = Callable[[str], "Piece"]


class Piece:
    """One binary file, or the member of an archive.

    Args:
        file: What holds its bytes.
        offset: The first of them.
        size: How many there are.
    """

    __slots__ = ("file", "offset", "size")

    def __init__(self, file: RegularFile, offset: int, size: int) -> None:
        self.file, self.offset, self.size = file, offset, size


class Shards:
    """Pieces read as if they were one file, as the format defines it: a weight may cross their ends."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = tuple(pieces)
        self.size = sum(piece.size for piece in pieces)

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on; the caller has checked that they are there."""
        found = []
        for piece in self._pieces:
            first, last = max(offset, 0), min(offset + size, piece.size)
            if first < last:
                found.append(piece.file.read(piece.offset + first, last - first))
            offset -= piece.size
        return b"".join(found)


def shards(paths: object, opener: Opener) -> Shards:
    """Return the shards that a group of a manifest lists.

    Raises:
        Malformed: the list is none, or a file in it is refused or missing.
    """
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise Malformed("tfjs/bad-manifest", "the weights manifest lists no paths")
    if len(paths) > _MOST_SHARDS:
        raise Malformed("tfjs/bad-manifest", "the weights manifest lists implausibly many files")
    return Shards([opener(_inside(path)) for path in paths])


def _inside(path: str) -> str:
    """Return a path of a manifest if it stays below the folder of the model.

    Raises:
        Malformed: it leads elsewhere.
    """
    parts = PurePosixPath(path)
    if "://" in path:
        raise Malformed(
            "tfjs/remote-weights",
            "the weights of this TensorFlow.js model lie on a server",
            found=printable(path),
            hint="Download them beside model.json and write their names into its weightsManifest.",
        )
    if not path or parts.is_absolute() or ".." in parts.parts or "\\" in path or ":" in path or "\0" in path:
        raise Malformed(
            "tfjs/path-outside",
            "the weights manifest names a file outside the model's own folder",
            found=f"'{printable(path)}'",
            hint="The model.json is damaged or hostile: nothing of it was read.",
        )
    return str(parts)


def folder_opener(folder: Path, opened: list[RegularFile]) -> Opener:
    """Return what opens the files of a model in a folder; they are added to `opened`, to be closed."""
    root = folder.resolve()

    def open_piece(path: str) -> Piece:
        file = folder / path
        if not file.resolve().is_relative_to(root):
            raise Malformed(
                "tfjs/path-outside",
                "a weight file is a link out of the model's own folder",
                found=f"'{printable(path)}'",
                hint="Copy the file itself beside model.json.",
            )
        if not os.path.lexists(file):
            raise Malformed(
                "tfjs/missing-weights",
                "a binary weight file that model.json names is missing",
                expected=printable(path),
                hint="TensorFlow.js keeps the numbers beside model.json: get these files too.",
            )
        handle = RegularFile(file)
        opened.append(handle)
        return Piece(handle, 0, handle.size)

    return open_piece


def archive_opener(
    file: RegularFile, members: dict[str, archive.Member], folder: str, opened: list[RegularFile]
) -> Opener:
    """Return what opens the members of a zip archive in the folder `folder` of it."""

    def open_piece(path: str) -> Piece:
        member = members.get(f"{folder}{path}")
        if member is None:
            raise Malformed(
                "tfjs/missing-weights",
                "a binary weight file that model.json names is not in the archive",
                expected=printable(path),
                hint="Get the whole archive again.",
            )
        if not member.is_compressed:
            return Piece(file, member.offset, member.size)
        unpacked = unpacked_member(file, member)
        opened.append(unpacked)
        return Piece(unpacked, 0, member.size)

    return open_piece


def unpacked_member(file: RegularFile, member: archive.Member) -> RegularFile:
    """Decompress a member of an archive into a file without a name, and open that."""
    with tempfile.TemporaryFile() as target:
        archive.unpack(file, member, target)
        target.flush()
        return RegularFile(file.path, os.dup(target.fileno()))
