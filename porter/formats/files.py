"""Regular files, read with pread: a file that shrinks is an error and never a signal."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np

from porter.core.positioned import open_flags, pread, preadv
from porter.formats.malformed import Malformed, naming

Bytes = np.ndarray[tuple[int], np.dtype[np.uint8]]

PIECE = 4 << 20
"""Bytes read and checked at a time, so that verification needs no more memory than this."""


class RegularFile:
    """An open regular file.

    Attributes:
        path: Where it is.
        size: Bytes, when it was opened.

    Args:
        path: Sets `path`, and is opened unless `descriptor` is given.
        descriptor: An open file to take over, whose own name is gone.
    """

    __slots__ = ("_descriptor", "path", "size")

    def __init__(self, path: Path, descriptor: int = -1) -> None:
        self.path = path
        self._descriptor = descriptor
        with naming(path):
            if descriptor < 0:
                require_regular(path.stat())  # before open: opening a device can act on it
                # A pipe put there since the check would block without O_NONBLOCK.
                self._descriptor = os.open(path, open_flags("O_RDONLY", "O_NONBLOCK", "O_CLOEXEC"))
            status = os.fstat(self._descriptor)
            require_regular(status)
            self.size = status.st_size

    def read_into(self, buffer: Bytes | memoryview, offset: int) -> None:
        """Fill `buffer` from the byte `offset` on.

        Raises:
            Malformed: the file ends first.
        """
        view = buffer if isinstance(buffer, memoryview) else buffer.data
        done = 0
        while done < view.nbytes:
            count = preadv(self._descriptor, [view[done:]], offset + done)
            if count == 0:
                raise Malformed(
                    "checkpoint/file-shrank",
                    "the file became shorter while it was being read",
                    expected=f"{view.nbytes} bytes at {offset}",
                    found=f"{done}",
                )
            done += count

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes; the caller has checked them against the size of the file."""
        data = pread(self._descriptor, size, offset)
        if len(data) == size:
            return data
        buffer = np.empty(size, np.uint8)
        self.read_into(buffer, offset)
        return buffer.tobytes()

    @property
    def descriptor(self) -> int:
        """The file descriptor, for callers that read many small runs."""
        return self._descriptor

    def close(self) -> None:
        """Close the descriptor; closing twice is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        """Close what was forgotten."""
        self.close()


def require_regular(status: os.stat_result) -> None:
    """Refuse directories, pipes, sockets and devices.

    Raises:
        Malformed: `status` is not that of a regular file.
    """
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return
    kinds = {stat.S_IFDIR: "directory", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    kind = kinds.get(stat.S_IFMT(mode), "device")
    raise Malformed(f"checkpoint/is-a-{kind}", "a regular file is needed here", found=f"a {kind}")
