"""SHA-256 of source files, computed in a thread while their tensors are being moved."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from porter.errors import CheckpointError

# What was read is hashed while it is in the second-level cache (4 MB take 6% more processor time); smaller
# pieces would ask for the interpreter more often.
_PIECE = 1 << 20


class SourceFile(NamedTuple):
    """What identifies one file of a checkpoint.

    Attributes:
        name: File name without its folder.
        size: Length in bytes.
        sha256: Hexadecimal digest of the whole file.
    """

    name: str
    size: int
    sha256: str


class SourceHashes:
    """Hashes `paths` in the background from construction until `result`.

    Leaving the ``with`` block early stops the thread.

    Raises:
        CheckpointError: a file cannot be opened.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._before = [_identity(path) for path in self._paths]
        self._digests: list[str] = []
        self._error: OSError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="porter-sha256", daemon=True)
        self._thread.start()

    def placeholder(self) -> tuple[SourceFile, ...]:
        """Return the files with digests of the right length that are all zeros."""
        return self._files(["0" * 64] * len(self._paths))

    def result(self) -> tuple[SourceFile, ...]:
        """Wait for the digests.

        Raises:
            CheckpointError: a file could not be read, or changed while it was being ported.
        """
        self._thread.join()
        if self._error is not None:
            raise _unreadable(self._error)
        for path, before in zip(self._paths, self._before, strict=True):
            if _identity(path) != before:
                raise CheckpointError(
                    "source/changed",
                    "the file changed while it was being read",
                    file=path,
                    hint="Is a training run still writing to it? Copy the checkpoint and port the copy.",
                )
        return self._files(self._digests)

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the thread and wait for it."""
        self._stop.set()
        self._thread.join()

    def _files(self, digests: Sequence[str]) -> tuple[SourceFile, ...]:
        return tuple(
            SourceFile(path.name, before[0], digest)
            for path, before, digest in zip(self._paths, self._before, digests, strict=True)
        )

    def _run(self) -> None:
        piece = bytearray(_PIECE)
        try:
            for path in self._paths:
                self._digests.append(self._digest(path, memoryview(piece)))
        except OSError as error:
            self._error = error

    def _digest(self, path: Path, piece: memoryview) -> str:
        digest = hashlib.sha256(usedforsecurity=False)
        with path.open("rb", buffering=0) as file:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            while not self._stop.is_set() and (count := file.readinto(piece)):
                digest.update(piece[:count])
        return digest.hexdigest()


def _identity(path: Path) -> tuple[int, int, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise _unreadable(error) from error
    return found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev


def _unreadable(error: OSError) -> CheckpointError:
    return CheckpointError(
        "source/unreadable", f"cannot be read: {error.strerror or error}", file=str(error.filename)
    )
