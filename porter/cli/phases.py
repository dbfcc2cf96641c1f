"""What a person sees while frameworks run: the phase and the time since the start."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import click


@contextmanager
def shown_phases(what: str) -> Iterator[Callable[[str], None]]:
    """Give a function that shows a phase as it begins.

    On a terminal the phase stands beside a spinner and a clock, on one line that goes when the work is done.
    Anywhere else (a log) each phase is a line on stderr.

    Args:
        what: What is being done, in words.
    """
    spinner = None
    if sys.stderr.isatty():
        with suppress(ImportError):  # without rich a terminal gets the lines of a log
            from porter.cli.progress import spinner as make

            spinner = make(what)
    if spinner is None:
        yield _lines(what)
        return
    with spinner:
        yield lambda phase: spinner.update(spinner.task_ids[0], description=f"{what}: {phase}")


def _lines(what: str) -> Callable[[str], None]:
    started = time.monotonic()

    def say(phase: str) -> None:
        click.echo(f"[{time.monotonic() - started:4.0f} s] {what}: {phase}", err=True)

    return say
