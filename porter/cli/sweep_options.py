"""The options of a port of many sources."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click


class Sweep(NamedTuple):
    """How many sources are ported.

    Attributes:
        out_dir: Where to.
        jobs: Processes at a time; as many as there are cores if None.
        keep_going: Whether sources are begun after one has failed.
        parents: How many folders above a source are part of its output's name.
    """

    out_dir: Path
    jobs: int | None
    keep_going: bool
    parents: int


_OPTIONS = (
    click.option(
        "--out-dir",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Port every SOURCE into DIR, in parallel, each called after its source. What is there and "
        "unchanged is skipped.",
    ),
    click.option(
        "--jobs",
        type=click.IntRange(min=1),
        metavar="N",
        help="With --out-dir: ports at a time.  [default: the number of cores]",
    ),
    click.option(
        "--keep-going",
        is_flag=True,
        help="With --out-dir: go on when a SOURCE fails. Otherwise those that have begun are finished, and "
        "no more are begun.",
    ),
    click.option(
        "--parents",
        type=click.IntRange(min=0),
        default=0,
        metavar="N",
        help="With --out-dir: put the names of N folders in front of the output's: 1 makes "
        "a-best.safetensors of a/best.h5.",
    ),
)


def sweep_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command receives a `Sweep` as `sweep`, or None without ``--out-dir``."""

    @functools.wraps(command)
    def gathering(
        *args: Any, out_dir: Path | None, jobs: int | None, keep_going: bool, parents: int, **given: Any
    ) -> Any:
        if out_dir is None and (jobs is not None or keep_going or parents):
            raise click.UsageError("--jobs, --keep-going and --parents go with --out-dir.")
        sweep = None if out_dir is None else Sweep(out_dir, jobs, keep_going, parents)
        return command(*args, sweep=sweep, **given)

    for option in reversed(_OPTIONS):
        gathering = option(gathering)
    return gathering
