"""Writing long runs of bytes past the page cache, in the background."""

from __future__ import annotations

import errno
import mmap
import os
import threading
from queue import SimpleQueue

from porter.core.positioned import pwrite

# Bytes written at one go: enough for the full speed of a disk (1, 4 and 8 MB reached 1.7, 1.9 and 1.9 GB/s).
_ROOM = 4 << 20
# Direct writes want offset, length and memory aligned to the disk's blocks; no disk has larger ones.
_BLOCK = 4096


class DirectWriter:
    """Writes long runs with O_DIRECT: what is in no hurry to be read again need not displace what is.

    For a file that must be on the disk before it gets its name the detour through the page cache only costs
    processor time, most of all on a virtual machine. The bytes are collected in aligned memory, and written
    by a thread while more are collected. What is not aligned, and everything if the file system knows no
    direct writes, goes through the page cache.

    Args:
        descriptor: Of the file; it must stay open until `finish`.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._direct = _reopened(descriptor)
        self._free: SimpleQueue[mmap.mmap] = SimpleQueue()
        self._full: SimpleQueue[tuple[mmap.mmap, int, int, int] | None] = SimpleQueue()
        for _ in range(2):
            self._free.put(mmap.mmap(-1, _ROOM))
        self._room: mmap.mmap | None = None
        self._begin = self._end = self._offset = 0
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="porter-write", daemon=True)
        self._thread.start()

    def write(self, data: memoryview, position: int) -> None:
        """Take the bytes of `data` for the byte `position`; fastest if each call goes on from the last.

        Raises:
            OSError: the disk refused, now or for an earlier call.
        """
        if self._room is not None and position != self._offset + self._end:
            self._hand_over()
        done = 0
        while done < len(data):
            if self._room is None:
                self._room = self._free.get()
                self._begin = self._end = (position + done) % _BLOCK
                self._offset = position + done - self._begin
            count = min(_ROOM - self._end, len(data) - done)
            self._room[self._end : self._end + count] = data[done : done + count]
            self._end += count
            done += count
            if self._end == _ROOM:
                self._hand_over()
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """Write what is left and end the thread.

        Raises:
            OSError: the disk refused.
        """
        if self._thread.is_alive():
            if self._room is not None:
                self._hand_over()
            self._full.put(None)
            self._thread.join()
        if self._direct is not None:
            os.close(self._direct)
            self._direct = None
        if self._error is not None:
            raise self._error

    def _hand_over(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            self._full.put((room, self._begin, self._end, self._offset))

    def _run(self) -> None:
        while (job := self._full.get()) is not None:
            try:
                if self._error is None:
                    self._store(*job)
            except OSError as error:
                self._error = error
            self._free.put(job[0])

    def _store(self, room: mmap.mmap, begin: int, end: int, offset: int) -> None:
        """Write ``room[begin:end]``; the room itself stands for the aligned byte `offset`."""
        first, last = -(-begin // _BLOCK) * _BLOCK, end // _BLOCK * _BLOCK
        view = memoryview(room)
        if self._direct is not None and first < last:
            try:
                _write_all(self._direct, view[first:last], offset + first)
            except OSError as error:
                if error.errno != errno.EINVAL:  # this file system wants another alignment, or knows none
                    raise
            else:
                _write_all(self._descriptor, view[begin:first], offset + begin)
                begin = last
        _write_all(self._descriptor, view[begin:end], offset + begin)


def _write_all(descriptor: int, view: memoryview, position: int) -> None:
    while view:
        count = pwrite(descriptor, view, position)
        position += count
        view = view[count:]


def _reopened(descriptor: int) -> int | None:
    """Open the file a second time for direct writes, or return None if that cannot be done."""
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
    except (AttributeError, OSError):
        return None
