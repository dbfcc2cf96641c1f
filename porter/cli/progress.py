"""The spinner, in a module of its own because importing it costs more than porting a small network."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)


def spinner(what: str) -> Progress:
    """Return a spinner on stderr with the time since its start, with one task called `what`."""
    shown = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    shown.add_task(what, total=None)
    return shown
