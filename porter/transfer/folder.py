"""The folder that a file is written to: held open where the system can, named by its path elsewhere."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from porter.core.positioned import open_flags


class Folder:
    """A folder in which files are made and renamed.

    Where folders can be opened it is the same folder even if somebody renames it meanwhile. Windows opens no
    folder: there its path is put before each name.

    Args:
        path: Where it is.

    Raises:
        OSError: it is not there, or is no folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = _opened(path)
        if self._descriptor is None:
            path.stat()

    def open(self, name: str, flags: int) -> int:
        """Open the file `name`, a new one with the permissions of any new file, and return its descriptor."""
        return os.open(self._named(name), flags, 0o666, dir_fd=self._descriptor)

    def link(self, descriptor: int, name: str) -> None:
        """Give an open file, which has no name yet, the name `name` (Linux only)."""
        # dst_dir_fd makes this linkat(AT_SYMLINK_FOLLOW): plain link() would link the symbolic link itself.
        os.link(f"/proc/self/fd/{descriptor}", name, dst_dir_fd=self._descriptor, follow_symlinks=True)

    def replace(self, old: str, new: str) -> None:
        """Give the file `old` the name `new`; a file that has it is replaced."""
        at = self._descriptor
        os.replace(self._named(old), self._named(new), src_dir_fd=at, dst_dir_fd=at)

    def unlink(self, name: str) -> None:
        """Remove the file `name`."""
        os.unlink(self._named(name), dir_fd=self._descriptor)

    def sync(self) -> None:
        """Bring the names in the folder to the disk, if the system and the file system can."""
        if self._descriptor is None:
            return
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            if error.errno != errno.EINVAL:  # file systems that cannot sync a folder
                raise

    def close(self) -> None:
        """Close it; closing twice is harmless."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def _named(self, name: str) -> str:
        return name if self._descriptor is not None else os.path.join(self._path, name)  # noqa: PTH118


def sync_folder(path: Path) -> None:
    """Bring the names in the folder `path` to the disk, if the system and the file system can."""
    folder = Folder(path)
    try:
        folder.sync()
    finally:
        folder.close()


def _opened(path: Path) -> int | None:
    if not hasattr(os, "O_DIRECTORY") or os.open not in os.supports_dir_fd:
        return None
    return os.open(path, open_flags("O_RDONLY", "O_DIRECTORY"))
