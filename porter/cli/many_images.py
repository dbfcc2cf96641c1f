"""What commands share that work on many images: where the work is done, and what is shown meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from porter.cli.image_progress import ImageProgress, LoggedImages

if TYPE_CHECKING:
    from porter.agreement.engine import Engine

_NAMES = ("workers", "batch", "ray_address", "gpus_per_worker")


def engine_options(command: Any) -> Any:
    """Add the options that say where the work is done."""
    for option in reversed(_ENGINE):
        command = option(command)
    return command


_ENGINE = (
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Processes of each framework; with Ray, actors.",
    ),
    click.option(
        "--batch",
        type=click.IntRange(min=1),
        default=16,
        show_default=True,
        help="Images that a process reads and runs at once.",
    ),
    click.option(
        "--engine",
        type=click.Choice(("local", "ray")),
        default="local",
        show_default=True,
        help="Processes on this machine, or Ray Data.",
    ),
    click.option(
        "--ray-address",
        metavar="ADDRESS",
        help="The Ray cluster, as for ray.init.  [default: one on this machine, for this run]",
    ),
    click.option(
        "--gpus-per-worker",
        type=click.FloatRange(min=0),
        default=0.0,
        help="Graphics cards of each Ray actor.  [default: none]",
    ),
)


def engine_of(asked: dict[str, Any]) -> Engine:
    """Take the options of `engine_options` out of what was asked.

    Raises:
        UsageError: an option of Ray's without Ray.
    """
    from porter.agreement.engine import Engine

    if asked["engine"] == "local" and (asked["ray_address"] or asked["gpus_per_worker"]):
        raise click.UsageError("--ray-address and --gpus-per-worker go with --engine ray.")
    return Engine(name=asked.pop("engine"), **{name: asked.pop(name) for name in _NAMES})


@contextmanager
def shown_images(what: str, out: Path) -> Iterator[ImageProgress]:
    """Give what shows phases and images as they are done; an interruption says how to go on."""
    shown: ImageProgress = LoggedImages(what)
    if sys.stderr.isatty():
        with suppress(ImportError):  # without rich a terminal gets the lines of a log
            from porter.cli.image_bar import ImageBar

            shown = ImageBar(what)
    try:
        with shown:
            yield shown
    except KeyboardInterrupt:
        click.echo(f"Interrupted; the same command goes on from what is in {out}.", err=True)
        raise
