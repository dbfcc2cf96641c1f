"""`porter agree`: how far a source and its port agree on a data set, image by image."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from porter.cli.command import Command
from porter.cli.image_progress import ImageProgress, LoggedImages
from porter.cli.shared_options import json_option, table_option, trust_option
from porter.errors import MissingDependencyError


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


@click.command("agree", cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("ported", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="The images: a folder (subfolders are labels), Parquet, WebDataset .tar, a text file with a path "
    "and perhaps a label a line, or one image.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where rows and report are written; a run that was interrupted goes on from there.  "
    "[default: PORTED's name with .agreement]",
)
@click.option(
    "--labels",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Names of the classes, one a line.  [default: ImageNet's, if the number fits]",
)
@click.option(
    "--label-offset",
    type=int,
    metavar="N",
    help="Added to labels that are numbers: 1 for a network whose class 0 is background.",
)
@engine_options
@table_option
@trust_option
@json_option
def agree(source: Path, ported: Path, as_json: bool, **asked: Any) -> None:
    """Run SOURCE in TensorFlow and its port PORTED in PyTorch on the same images, each as it prepares them.

    Says how often both give the same class, how far their probabilities differ, and whether decoding,
    crop and resize, or the networks make the difference. Exit code 0 means that every image was worked on.

    \b
    Example:
      porter agree ckpt-100 model.safetensors --data val/
      porter agree model.keras model.safetensors --data val.parquet --workers 4
      porter agree ckpt-100 model.safetensors --data val/ --engine ray --workers 16
    """
    try:
        from porter.agreement.agreeing import Engine
        from porter.agreement.agreeing import agree as run
    except ImportError as error:
        raise MissingDependencyError(
            "agree/no-torch", f"{error.name} is not installed", hint="pip install 'port-weights[torch]'"
        ) from None
    names = ("workers", "batch", "ray_address", "gpus_per_worker")
    if asked["engine"] == "local" and (asked["ray_address"] or asked["gpus_per_worker"]):
        raise click.UsageError("--ray-address and --gpus-per-worker go with --engine ray.")
    engine = Engine(name=asked.pop("engine"), **{name: asked.pop(name) for name in names})
    out = asked.pop("out") or Path(f"{ported.name.removesuffix('.safetensors')}.agreement")
    with shown_images("agree", out) as shown:
        report = run(
            source, ported, engine=engine, out=out, phase=shown.phase, progress=shown.images, **asked
        )
    click.echo(report.json() if as_json else report.text())
    if not as_json:
        click.echo(f"page        {out / 'agreement.html'}")


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
