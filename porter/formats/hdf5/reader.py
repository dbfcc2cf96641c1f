"""Runs `child.py`, which describes HDF5 files: a process for each, or one that forks for each of many."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

_CHILD, _FORKS = (Path(__file__).with_name(name) for name in ("child.py", "forks.py"))
_LONGEST_WAIT = 60
_ENVIRONMENT = {
    "HDF5_PLUGIN_PRELOAD": "::",  # HDF5's own way of saying: load no plug-in
    "HDF5_USE_FILE_LOCKING": "FALSE",
    "OPENBLAS_NUM_THREADS": "1",  # each thread's stack counts against the child's memory limit
    "PYTHONIOENCODING": "utf-8",
}


class Ended(NamedTuple):
    """How the process ended that described a file.

    Attributes:
        code: Its exit code, negative if a signal ended it.
        document: What it printed.
    """

    code: int
    document: bytes


def run_child(descriptor: int, offset: int, size: int) -> Ended:
    """Have the HDF5 file in these bytes of an open file described, by a process that may crash of it.

    Raises:
        TimeoutError: the process does not come to an end.
    """
    shared = _shared.get()
    return _alone(descriptor, offset, size) if shared is None else shared.run(descriptor, offset, size)


@contextmanager
def one_reader() -> Iterator[None]:
    """Have one process serve every HDF5 file that this thread opens in the block: it loads the library once.

    Each file is still described by a process of its own, a fork, which alone dies of it.
    """
    if sys.platform != "linux":  # elsewhere libraries do not promise to work in a fork
        yield
        return
    reader = _Reader()
    token = _shared.set(reader)
    try:
        yield
    finally:
        _shared.reset(token)
        reader.close()


class _Reader:
    """The process that forks, started with the first file."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def run(self, descriptor: int, offset: int, size: int) -> Ended:
        with tempfile.TemporaryFile() as document:
            request = f"{offset} {size}".encode()
            try:
                connection = self._socket or self._started()
                socket.send_fds(connection, [request], [descriptor, document.fileno()])
                code = connection.recv(64)
            except TimeoutError:
                self.close()
                raise
            except OSError:
                code = b""
            if not code:  # it has died itself, of no file: the system may have ended it
                self.close()
                return _alone(descriptor, offset, size)
            document.seek(0)
            return Ended(int(code), document.read())

    def close(self) -> None:
        """End the process."""
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._socket = None

    def _started(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_FORKS), str(_CHILD), str(_LONGEST_WAIT)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **_ENVIRONMENT},
            )
        ours.settimeout(_LONGEST_WAIT + 5)  # behind the alarm that ends a fork
        self._socket = ours
        return ours


def _alone(descriptor: int, offset: int, size: int) -> Ended:
    try:
        run = subprocess.run(
            [sys.executable, "-P", str(_CHILD), str(offset), str(size)],
            stdin=descriptor,  # the one descriptor that a child inherits on every system
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **_ENVIRONMENT},
            timeout=_LONGEST_WAIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return Ended(run.returncode, run.stdout)


# Windows has none of these signals, and no limits that could send them.
ENDED_BY_A_LIMIT = {getattr(signal, name, None) for name in ("SIGXCPU", "SIGKILL", "SIGALRM")}

# Who describes files for whoever is in `one_reader`; each file has a process of its own outside of it.
_shared: ContextVar[_Reader | None] = ContextVar("reader", default=None)
