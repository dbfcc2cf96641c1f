"""Describes one HDF5 file after another, each in a fork of this process, which loads the HDF5 library once.

Run as a program: ``python -P forks.py CHILD SECONDS < SOCKET``. For each request the socket hands over an
open file and one for the document that CHILD (`child.py`) makes of it; the answer is the exit code of the
fork, which lives for SECONDS at most. This file imports nothing of porter, like `child.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import signal
import socket
import sys
from typing import Any


def serve(parent: socket.socket, child: dict[str, Any], seconds: int) -> None:
    """Answer until the parent is gone."""
    while True:
        request, descriptors, _, _ = socket.recv_fds(parent, 64, 2)
        if not request:
            return
        pid = os.fork()
        if pid == 0:
            signal.alarm(seconds)
            child["limit"]()
            with os.fdopen(descriptors[1], "w", encoding="utf-8") as document:
                document.write(json.dumps(child["describe"](descriptors[0], *map(int, request.split()))))
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        parent.sendall(str(code).encode())


def main() -> None:
    """Serve whom the arguments name."""
    child = runpy.run_path(sys.argv[1])
    with contextlib.suppress(ImportError):  # `describe` says so
        import h5py  # noqa: F401, PLC0415  (once, for every fork)
    with socket.socket(fileno=sys.stdin.fileno()) as parent:
        serve(parent, child, int(sys.argv[2]))


if __name__ == "__main__":
    main()
