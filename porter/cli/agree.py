"""`porter agree`: how far a source and its port agree on a data set, image by image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from porter.cli.command import Command
from porter.cli.many_images import engine_of, engine_options, shown_images
from porter.cli.shared_options import json_option, table_option, trust_option


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
    from porter.agreement.agreeing import agree as run

    engine = engine_of(asked)
    out = asked.pop("out") or Path(f"{ported.name.removesuffix('.safetensors')}.agreement")
    with shown_images("agree", out) as shown:
        report = run(
            source, ported, engine=engine, out=out, phase=shown.phase, progress=shown.images, **asked
        )
    click.echo(report.json() if as_json else report.text())
    if not as_json:
        click.echo(f"page        {out / 'agreement.html'}")
