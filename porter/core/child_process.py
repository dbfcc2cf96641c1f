"""A child process that runs one of porter's modules: starting it, talking to it, how it died, ending it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from porter.core.closing import Closing

_LAST_LINES = 5
_SECONDS_TO_TIDY_UP = 5.0


class ChildDiedError(Exception):
    """A process ended without an answer; the message says how, and what it said last."""


class ChildProcess(Closing):
    """A process of a module of porter. Use as a context manager: leaving it ends the process.

    It is told what to do on stdin and answers on stdout; what it writes to stderr is kept in a file, so that
    it never waits for a reader.

    Attributes:
        pid: Its number.

    Args:
        module: The module that it runs, in full.
        variables: What its environment has beside this process's.
    """

    def __init__(self, module: str, variables: Mapping[str, str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `close`)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **variables, "PYTHONPATH": import_path()},
            text=True,
        )
        self.pid = self._process.pid

    def say(self, line: str) -> None:
        """Write a line to it; one that has ended takes none, and its exit code says so."""
        assert self._process.stdin is not None  # noqa: S101 (opened as a pipe)
        with suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def ask(self, line: str) -> str:
        """Write a line to it, and wait for the line that answers.

        Raises:
            ChildDiedError: it ended without an answer.
        """
        assert self._process.stdout is not None  # noqa: S101 (opened as a pipe)
        self.say(line)
        answer = self._process.stdout.readline()
        if not answer.endswith("\n"):
            raise ChildDiedError(self.obituary())
        return answer

    def conclude(self, request: str, timeout: float) -> str:
        """Write the last that it is told, wait until it has ended, and return the rest of its answer.

        Raises:
            TimeoutError: it did not end within so many seconds.
        """
        try:
            return str(self._process.communicate(request, timeout=timeout)[0])
        except subprocess.TimeoutExpired:
            raise TimeoutError from None

    def exit_code(self) -> int | None:
        """Return its exit code; None while it runs, negative if a signal killed it."""
        return self._process.poll()

    def obituary(self) -> str:
        """Wait until it has ended; say how, and what it said last."""
        code = self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"{how}; its last lines: {self.last_lines()}"

    def last_lines(self) -> str:
        """Return the end of what it wrote to stderr, on one line."""
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().decode(errors="replace").splitlines()]
        return " | ".join([line for line in lines if line][-_LAST_LINES:]) or "none"

    def dismiss(self, *, at_once: bool) -> None:
        """Have it end in order: when it has done what it does, or at once; one that does not is killed."""
        if at_once:
            self._process.terminate()
        elif self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(_SECONDS_TO_TIDY_UP)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()

    def kill(self) -> None:
        """End it, whatever it is doing."""
        if self._process.poll() is None:
            self._process.kill()

    def close(self) -> None:
        """End it, whatever it is doing, and forget what it said."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._process.wait()
        self._errors.close()


def cores() -> int:
    """Return how many cores this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux alone tells which cores are this process's
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def import_path() -> str:
    """Return the PYTHONPATH with which a child imports the porter that runs here."""
    root = str(Path(__file__).parents[2])
    return os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
