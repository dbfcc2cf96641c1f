"""Reading and writing at a position of an open file, also on systems that have no such call (Windows).

`preadv`, `pread` and `pwrite` take what the functions of these names in `os` take. Where `os` lacks one, its
substitute moves the position of the descriptor, one thread at a time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

_one_at_a_time = threading.Lock()


def _preadv_by_seeking(descriptor: int, buffers: Sequence[Any], offset: int) -> int:
    (buffer,) = buffers  # nobody here reads into several at once
    with _one_at_a_time, open(descriptor, "rb", buffering=0, closefd=False) as file:
        file.seek(offset)
        return file.readinto(buffer) or 0


def _pread_by_seeking(descriptor: int, size: int, offset: int) -> bytes:
    with _one_at_a_time:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)


def _pwrite_by_seeking(descriptor: int, data: Any, offset: int) -> int:
    with _one_at_a_time:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, data)


# Chosen once: a strided tensor is read in hundreds of thousands of short runs.
preadv = getattr(os, "preadv", _preadv_by_seeking)
pread = getattr(os, "pread", _pread_by_seeking)


def pwrite(descriptor: int, data: Any, offset: int) -> int:
    """Write `data` at the byte `offset`, and return how many bytes of it were written."""
    write = getattr(os, "pwrite", _pwrite_by_seeking)
    return int(write(descriptor, data, offset))


def open_flags(*names: str) -> int:
    """Return the flags of `os.open` with these names, those left out that this system lacks.

    Bytes are never translated: Windows would end every line in a binary file its own way without O_BINARY.
    """
    flags = getattr(os, "O_BINARY", 0)
    for name in names:
        flags |= getattr(os, name, 0)
    return int(flags)
