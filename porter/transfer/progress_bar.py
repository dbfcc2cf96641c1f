"""A progress bar on stderr where a person watches: a terminal or a notebook."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from porter.transfer.transfer import Progress

# Below this a port is over before a person could read the bar.
SHOWN_FROM_BYTES = 200_000_000

_WIDTH = 40
_SECONDS_BETWEEN = 0.1


@contextmanager
def progress_bar(*, quiet: bool = False) -> Iterator[Progress | None]:
    """Give a callback that draws a bar once there is something to wait for; None if nobody watches.

    Args:
        quiet: Show nothing, whoever watches.

    Example:
        >>> with progress_bar(quiet=True) as progress:
        ...     print(progress)
        None
    """
    if quiet or not _is_watched():
        yield None
        return
    bar = _ByteBar()
    try:
        yield bar.advance
    finally:
        bar.clear()


def _is_watched() -> bool:
    # A notebook's stderr is no terminal, and its kernel is loaded before any cell runs.
    return sys.stderr.isatty() or "ipykernel" in sys.modules


class _ByteBar:
    """Bytes done and to do, their speed and the time that is left, on one line that is written anew."""

    def __init__(self) -> None:
        self._started = self._drawn = 0.0
        self._width = 0

    def advance(self, done: int, total: int) -> None:
        if total < SHOWN_FROM_BYTES:
            return
        now = time.monotonic()
        self._started = self._started or now
        if now - self._drawn >= _SECONDS_BETWEEN or done == total:
            self._drawn = now
            self._draw(_line(done, total, now - self._started))

    def clear(self) -> None:
        if self._width:
            self._draw("")
            sys.stderr.write("\r")
            sys.stderr.flush()

    def _draw(self, line: str) -> None:
        # Blanks over what the last line had more: not every console knows the sequence that clears a line.
        sys.stderr.write(f"\r{line.ljust(self._width)}")
        sys.stderr.flush()
        self._width = len(line)


def _line(done: int, total: int, seconds: float) -> str:
    filled = _WIDTH * done // total
    sizes = f"{done / 1e6:.0f} of {total / 1e6:.0f} MB"
    if not done or not seconds:
        return f"[{'#' * filled:{_WIDTH}}] {sizes}"
    speed = done / seconds
    left = round((total - done) / speed)
    return f"[{'#' * filled:{_WIDTH}}] {sizes}, {speed / 1e6:.0f} MB/s, {left // 60}:{left % 60:02} left"
