"""A line on stderr that is written anew while something runs: what is being done, and for how long."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Self

_SECONDS_BETWEEN = 0.2
_MARKS = "|/-\\"


class Spinner:
    """A spinner with a clock, drawn by a thread until the ``with`` block ends; then its line is gone.

    Args:
        text: What is being done; `say` changes it.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._width = 0
        self._started = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="porter-spinner", daemon=True)

    def say(self, text: str) -> None:
        """Show `text` from now on."""
        self._text = text

    def _run(self) -> None:
        turn = 0
        while not self._ended.wait(_SECONDS_BETWEEN if turn else 0):
            seconds = int(time.monotonic() - self._started)
            mark = _MARKS[turn % len(_MARKS)]
            self._draw(f"{mark} {self._text} {seconds // 60}:{seconds % 60:02}")
            turn += 1

    def _draw(self, line: str) -> None:
        # Blanks over what the last line had more: not every console knows the sequence that clears a line.
        sys.stderr.write(f"\r{line.ljust(self._width)}")
        sys.stderr.flush()
        self._width = len(line)

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the line away."""
        self._ended.set()
        self._thread.join()
        self._draw("")
        sys.stderr.write("\r")
        sys.stderr.flush()
