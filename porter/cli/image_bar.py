"""The bar of images on a terminal, in a module of its own because importing it takes a while."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from porter.cli.image_progress import Pace


class ImageBar:
    """A bar on stderr with the phase, images, rate and time left; it goes when the work is done.

    Args:
        what: What is being done.
    """

    def __init__(self, what: str) -> None:
        self._what, self._pace = what, Pace()
        self._shown = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._shown.add_task(what, total=None)

    def phase(self, phase: str) -> None:
        """Show a phase as it begins."""
        self._shown.update(self._task, description=f"{self._what}: {phase}")

    def images(self, done: int, total: int) -> None:
        """Show how many images are done."""
        told = ", ".join(filter(None, (f"{done} of {total} images", self._pace.words(done, total))))
        self._shown.update(self._task, completed=done, total=total, description=f"{self._what}: {told}")

    def __enter__(self) -> Self:
        """Show it."""
        self._shown.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take it away."""
        self._shown.stop()
