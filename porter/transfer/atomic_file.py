"""A file that appears under its name whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from porter.core.positioned import open_flags, pwrite
from porter.errors import OutputError
from porter.transfer.folder import Folder
from porter.transfer.write_behind import WriteBehind

if TYPE_CHECKING:
    from porter.transfer.direct_writer import DirectWriter

# The longest file name on every common file system, and what the hidden name adds to OUT's own.
_NAME_MAX = 255
_HIDDEN_EXTRA = 16

_PROBLEMS = {
    errno.ENOSPC: ("output/disk-full", "there is not enough space on the disk", "Free some and run again."),
    errno.EDQUOT: ("output/disk-full", "the disk quota is used up", "Free some space and run again."),
    errno.EFBIG: ("output/file-too-large", "the file would be larger than this process or disk allows", None),
    errno.EACCES: ("output/read-only", "no permission to write here", "Choose another place."),
    errno.EPERM: ("output/read-only", "no permission to write here", "Choose another place."),
    errno.EROFS: ("output/read-only", "the file system is read-only", "Choose another place."),
    errno.ENOENT: ("output/no-folder", "the folder does not exist", "Create it first."),
    errno.ENOTDIR: ("output/no-folder", "a part of the path is not a folder", "Choose another place."),
    errno.ENAMETOOLONG: ("output/bad-name", "the file name is too long", "Choose a shorter one."),
    errno.EISDIR: ("output/is-directory", "is a folder", "Give the name of a file."),
}


def output_error(error: OSError, path: Path) -> OutputError:
    """Say what an operating system's refusal to write `path` means."""
    code, problem, hint = _PROBLEMS.get(
        error.errno or 0, ("output/write-failed", f"writing failed: {error.strerror or error}", None)
    )
    return OutputError(code, problem, file=path, hint=hint)


def write_whole(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write a file that appears whole or not at all; see `AtomicFile`.

    Args:
        path: The file to write.
        content: Its bytes, or a text to write as UTF-8. What a text cannot say in UTF-8 (the name of a file
            that is none) stands there escaped.

    Raises:
        OutputError: it cannot be written; an old file of that name is intact.
    """
    if isinstance(content, str):
        content = content.encode(errors="backslashreplace")
    with AtomicFile(path) as file:
        file.write(content, 0)
        file.commit()


def require_writable(path: str | os.PathLike[str]) -> None:
    """Try whether a file could be written, and leave nothing.

    Raises:
        OutputError: it could not.
    """
    AtomicFile(path).discard()


class AtomicFile:
    """A file being written beside its final name, which `commit` gives it in one step.

    Where the kernel can hold a file that has no name yet (O_TMPFILE), not even a killed process leaves
    anything behind. Elsewhere the file has a hidden name until `commit` or `discard`. An existing file
    of the final name stays as it is until it is replaced. Permissions are those of any new file (0666
    less the umask).

    Attributes:
        path: The final name.
        fd: Descriptor to write to, open for writing only.

    Raises:
        OutputError: the name cannot be written to: it is a folder, a symbolic link, a device or pipe, or
            write-protected, or its folder is missing or read-only.
    """

    def __init__(self, path: str | os.PathLike[str], *, unnamed: bool = True) -> None:
        self.path = Path(path)
        self._hidden: str | None = None
        self.fd = -1
        self._folder: Folder | None = None
        self._behind: WriteBehind | None = None
        self._direct: DirectWriter | None = None
        try:
            _refuse_unsuitable(self.path)
            self._folder = Folder(self.path.parent)
            self.fd = self._open(unnamed=unnamed)
            self._behind = WriteBehind(self.fd)
        except OSError as error:
            self.discard()
            raise output_error(error, self.path) from error
        except BaseException:
            self.discard()
            raise

    def reserve(self, nbytes: int) -> None:
        """Claim `nbytes` on the disk now, so that a full disk is noticed before any work is done.

        Raises:
            OutputError: there is not that much space.
        """
        allocate = getattr(os, "posix_fallocate", None)
        if allocate is None or nbytes == 0:
            return
        try:
            allocate(self.fd, 0, nbytes)
        except OSError as error:
            # EINVAL and EOPNOTSUPP: this file system cannot reserve; a full disk shows while writing.
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise output_error(error, self.path) from error

    def write(self, data: memoryview | bytes, position: int) -> None:
        """Write all of `data` at the byte `position`; the disk begins with it in the background.

        Raises:
            OutputError: the disk refused.
        """
        view = memoryview(data)
        try:
            while view:
                count = pwrite(self.fd, view, position)
                position += count
                view = view[count:]
        except OSError as error:
            raise output_error(error, self.path) from error
        if self._behind is not None:
            self._behind.wrote(len(data))

    def write_long(self, data: memoryview, position: int) -> None:
        """Write all of `data`, a part of a long run that is written from front to back, past the page cache.

        Raises:
            OutputError: the disk refused, now or for an earlier part.
        """
        try:
            if self._direct is None:
                from porter.transfer.direct_writer import DirectWriter  # noqa: PLC0415  (few tensors are long)

                self._direct = DirectWriter(self.fd)
            self._direct.write(data, position)
        except OSError as error:
            raise output_error(error, self.path) from error

    def rest(self) -> None:
        """Write what `write_long` still holds, and give back its memory until it is called again.

        Raises:
            OutputError: the disk refused.
        """
        direct, self._direct = self._direct, None
        try:
            if direct is not None:
                direct.finish()
        except OSError as error:
            raise output_error(error, self.path) from error

    def commit(self) -> None:
        """Bring the bytes to the disk and give the file its name, replacing an old file of that name.

        Raises:
            OutputError: the disk or the folder refused; an old file is intact.
        """
        try:
            self._finish_writing()
            os.fsync(self.fd)
            self._publish()
            self._parent.sync()
        except OSError as error:
            raise output_error(error, self.path) from error
        finally:
            self.discard()

    def discard(self) -> None:
        """Drop the file if it was not committed. Does nothing the second time."""
        with contextlib.suppress(OSError):
            self._finish_writing()
        self._close()
        if self._folder is not None:
            if self._hidden is not None:
                with contextlib.suppress(OSError):
                    self._folder.unlink(self._hidden)
                self._hidden = None
            self._folder.close()
            self._folder = None

    def __enter__(self) -> Self:
        """Return self; leaving the block without `commit` drops the file."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop the file if it was not committed."""
        self.discard()

    def _finish_writing(self) -> None:
        """Wait for the threads; the descriptor must not be closed before."""
        try:
            if self._direct is not None:
                self._direct.finish()
        finally:
            if self._behind is not None:
                self._behind.finish()

    def _open(self, *, unnamed: bool) -> int:
        if unnamed and hasattr(os, "O_TMPFILE"):
            # Any refusal has the same answer: the file gets a hidden name, or that fails with the reason.
            with contextlib.suppress(OSError):
                fd = self._parent.open(".", os.O_TMPFILE | os.O_WRONLY)
                if os.path.exists(f"/proc/self/fd/{fd}"):  # noqa: PTH110 - needed to name the file later
                    return fd
                os.close(fd)
        hidden = self._hidden_name()
        self._hidden = hidden
        return self._parent.open(hidden, open_flags("O_WRONLY", "O_CREAT", "O_EXCL", "O_NOFOLLOW"))

    def _hidden_name(self) -> str:
        name = self.path.name
        while len(os.fsencode(name)) > _NAME_MAX - _HIDDEN_EXTRA:
            name = name[:-1]
        return f".{name}.{os.urandom(4).hex()}.tmp"

    def _publish(self) -> None:
        if self._hidden is None:
            try:
                self._parent.link(self.fd, self.path.name)
            except FileExistsError:
                # A link cannot replace a file; a rename can, but needs a name to start from.
                self._hidden = self._hidden_name()
                self._parent.link(self.fd, self._hidden)
            else:
                return
        self._close()  # Windows gives an open file no other name
        self._parent.replace(self._hidden, self.path.name)
        self._hidden = None

    def _close(self) -> None:
        if self.fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self.fd)
        self.fd = -1

    @property
    def _parent(self) -> Folder:
        assert self._folder is not None  # noqa: S101 (asked for between opening and discarding only)
        return self._folder


def _refuse_unsuitable(path: Path) -> None:
    if "\0" in str(path):
        raise OutputError("output/bad-name", "the file name holds a zero byte", file=path)
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        raise OutputError(
            "output/is-symlink",
            "is a symbolic link",
            file=path,
            hint=f"Give the file it points to: {path.readlink()}.",
        )
    if stat.S_ISDIR(mode):
        raise OutputError("output/is-directory", "is a folder", file=path, hint="Give the name of a file.")
    if not stat.S_ISREG(mode):
        raise OutputError("output/not-a-file", "is a pipe, socket or device, not an ordinary file", file=path)
    if not os.access(path, os.W_OK):
        raise OutputError(
            "output/read-only", "an existing file is write-protected", file=path, hint="Choose another name."
        )
