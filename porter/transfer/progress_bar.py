"""A progress bar on stderr where a person watches: a terminal or a notebook."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from porter.transfer.transfer import Progress

if TYPE_CHECKING:  # importing it costs more than porting a small network
    from rich.progress import Progress as Bar

# Below this a port is over before a person could read the bar.
SHOWN_FROM_BYTES = 200_000_000


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
    bar: Bar | None = None

    def advance(done: int, total: int) -> None:
        nonlocal bar
        if total < SHOWN_FROM_BYTES:
            return
        if bar is None:
            bar = _byte_bar(total)
            bar.start()
        bar.update(bar.task_ids[0], completed=done)

    try:
        yield advance
    finally:
        if bar is not None:
            bar.stop()


def _is_watched() -> bool:
    # A notebook's stderr is no terminal, and its kernel is loaded before any cell runs.
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def _byte_bar(total: int) -> Bar:
    from rich.console import Console  # noqa: PLC0415  (see above)
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bar  # noqa: PLC0415

    columns = BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    bar = Bar(*columns, console=Console(stderr=True), transient=True)
    bar.add_task("", total=total)
    return bar
