"""Makes a process behave as on another system, as far as what porter calls is concerned.

OTHER_SYSTEM=macos takes away what Linux alone has. OTHER_SYSTEM=windows takes away POSIX's calls too: no
folder can be opened, no open file removed or renamed, and a binary file must be opened as one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

LINUX_ONLY = ("posix_fallocate", "posix_fadvise", "fdatasync", "sched_getaffinity", "O_TMPFILE", "O_DIRECT")
POSIX_ONLY = ("preadv", "pread", "pwritev", "pwrite", "O_DIRECTORY", "O_NONBLOCK", "O_CLOEXEC", "O_NOFOLLOW")
POSIX_MODULES = ("fcntl", "resource", "pwd", "grp")
_BINARY = 0o100000  # Linux's O_LARGEFILE, which changes nothing in a process of 64 bits


def pretend(system):
    """Take away what `system` lacks."""
    for name in LINUX_ONLY + (POSIX_ONLY if system == "windows" else ()):
        delattr(os, name)
    if system == "macos":
        _refuse_limits_of_memory()
        return
    for name in POSIX_MODULES:
        sys.modules[name] = None
    for name in ("SIGKILL", "SIGXCPU"):
        delattr(signal, name)
    os.O_BINARY = _BINARY
    os.open = _open_as_windows(os.open)
    for name in ("replace", "rename"):
        setattr(os, name, _renaming_as_windows(getattr(os, name), replaces=name == "replace"))
    os.unlink = _removing_as_windows(os.unlink)
    subprocess.Popen.__init__ = _starting_as_windows(subprocess.Popen.__init__)


def _refuse_limits_of_memory():
    import resource

    def setrlimit(which, limits):
        if which == resource.RLIMIT_AS:
            raise ValueError("current limit exceeds maximum limit")

    resource.setrlimit = setrlimit


def _open_as_windows(real):
    def opened(path, flags, mode=0o777, *, dir_fd=None):
        if dir_fd is not None:
            raise NotImplementedError("dir_fd unavailable on this platform")
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied", str(path))
        assert flags & _BINARY or path == os.devnull, f"{path} would be translated line by line"
        return real(path, flags, mode)

    return opened


def _renaming_as_windows(real, *, replaces):
    def renamed(old, new, *, src_dir_fd=None, dst_dir_fd=None):
        if src_dir_fd is not None or dst_dir_fd is not None:
            raise NotImplementedError("src_dir_fd and dst_dir_fd unavailable on this platform")
        for path in (old, new):
            _require_closed(path)
        if Path(new).exists() and (not replaces or Path(new).is_dir()):
            raise FileExistsError(17, "Cannot create a file when that file already exists", str(new))
        real(old, new)

    return renamed


def _removing_as_windows(real):
    def removed(path, *, dir_fd=None):
        # A temporary file without a name is made in another way there.
        if sys._getframe(1).f_globals["__name__"] != "tempfile" and dir_fd is None:
            _require_closed(path)
        real(path, dir_fd=dir_fd)

    return removed


def _require_closed(path):
    whole = str(Path(path).absolute())
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            held = descriptor.readlink()
        except FileNotFoundError:
            continue
        if str(held) == whole:
            raise PermissionError(13, "The process cannot access the file: it is being used", str(path))


def _starting_as_windows(real):
    def started(self, *arguments, pass_fds=(), start_new_session=False, preexec_fn=None, **options):
        assert not pass_fds, "pass_fds not supported on Windows."
        assert not start_new_session
        assert preexec_fn is None, "preexec_fn is not supported on Windows platforms"
        real(self, *arguments, **options)

    return started
