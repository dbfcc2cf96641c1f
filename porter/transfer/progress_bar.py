"""A progress bar on stderr where a person watches: a terminal or a notebook."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TextIO, cast

from porter.transfer.transfer import Progress

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

# Below this a port is over before a person could read the bar.
SHOWN_FROM_BYTES = 200_000_000
_STEPS = 200


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
    with ExitStack() as ends:
        bar: ProgressBar[int] | None = None

        def advance(done: int, total: int) -> None:
            nonlocal bar
            if total < SHOWN_FROM_BYTES:
                return
            bar = bar or ends.enter_context(_byte_bar(total))
            bar.update(done - bar.pos)

        yield advance


def _is_watched() -> bool:
    # A notebook's stderr is no terminal, and its kernel is loaded before any cell runs.
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def _byte_bar(total: int) -> ProgressBar[int]:
    import click  # noqa: PLC0415  (a port by the library needs it here alone)

    return click.progressbar(
        length=total,
        file=cast("TextIO", _Notebook()) if not sys.stderr.isatty() else sys.stderr,
        update_min_steps=total // _STEPS,
        label=f"{total / 1e6:.0f} MB",
    )


class _Notebook:
    """A notebook's stderr: it writes a line anew as a terminal does, but is none to those who ask."""

    def isatty(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)
