"""What a person sees while many images are worked on, without a terminal: a line now and then."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol, Self

import click

_STEPS = 10


class ImageProgress(Protocol):
    """Shows phases, and how many images are done."""

    def phase(self, phase: str) -> None:
        """Show a phase as it begins."""

    def images(self, done: int, total: int) -> None:
        """Show how many images are done."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""


class Pace:
    """Images per second since the first report, and the time that is left."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def words(self, done: int, total: int) -> str:
        """Return both in words; "" until they are known."""
        now = time.monotonic()
        if self._first is None:
            self._first = now, done
        began, before = self._first
        if done == before or now == began:
            return ""
        rate = (done - before) / (now - began)
        seconds = round((total - done) / rate)
        return f"{rate:.1f} images/s, {seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"


class LoggedImages:
    """Lines on stderr: one for each phase, and one for each tenth of the images.

    Args:
        what: What is being done.
    """

    def __init__(self, what: str) -> None:
        self._what, self._started, self._pace, self._shown = what, time.monotonic(), Pace(), -1

    def phase(self, phase: str) -> None:
        """Write a phase as it begins."""
        click.echo(f"[{time.monotonic() - self._started:4.0f} s] {self._what}: {phase}", err=True)

    def images(self, done: int, total: int) -> None:
        """Write how many images are done, at each tenth."""
        pace = self._pace.words(done, total)
        if (step := done * _STEPS // total) > self._shown:
            self._shown = step
            self.phase(", ".join(filter(None, (f"{done} of {total} images", pace))))

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""
