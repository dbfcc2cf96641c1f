"""Bringing a file to the disk while it is still being written."""

from __future__ import annotations

import os
import threading

# Written bytes are handed to the disk in portions of this size. Smaller ones end sooner after the last
# write, larger ones cost fewer journal commits; 8 MB take a disk a few milliseconds.
_PORTION = 8 << 20


class WriteBehind:
    """Syncs a file in a thread of its own whenever another portion was written.

    The thread starts with the first portion, so that small files need none.

    Args:
        descriptor: Of the file; it must stay open until `finish`.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting = 0
        self._error: OSError | None = None
        self._work = threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self._finished = False

    def wrote(self, nbytes: int) -> None:
        """Say that `nbytes` more were written."""
        self._waiting += nbytes
        if self._waiting < _PORTION:
            return
        self._waiting = 0
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="porter-sync", daemon=True)
            self._thread.start()
        self._work.release()

    def finish(self) -> None:
        """End the thread.

        Raises:
            OSError: the disk refused. The system tells this once, so no later sync would tell it.
        """
        self._finished = True
        if self._thread is not None:
            self._work.release()
            self._thread.join()
            self._thread = None
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while self._error is None:
            self._work.acquire()
            while self._work.acquire(blocking=False):
                pass  # one sync serves every portion that was written before it
            if self._finished:
                return
            try:
                getattr(os, "fdatasync", os.fsync)(self._descriptor)  # macOS and Windows lack it
            except OSError as error:
                self._error = error
