"""`porter classify`: what a ported network sees in images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from porter.cli.command import Command
from porter.cli.many_images import engine_of, engine_options, shown_images
from porter.cli.shared_options import json_option, trust_option
from porter.errors import MissingDependencyError

if TYPE_CHECKING:  # imports torch
    from porter.loading.classification import Classifier, Prediction
    from porter.loading.labels import Labels


@click.command("classify", cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", metavar="OUT.safetensors", type=click.Path(path_type=Path))
@click.argument("images", metavar="IMAGE...", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--labels",
    "labels_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Names of the classes, one a line.  [default: ImageNet's, if there are 1000 or 1001 classes]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a row for each image of DATA, given in place of IMAGE: a folder, Parquet, .tar or a list "
    "of files. FILE ends in .parquet or .jsonl.",
)
@engine_options
@trust_option
@json_option
def classify(
    source: Path,
    images: tuple[Path, ...],
    labels_file: Path | None,
    out: Path | None,
    trust_table: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Show the five likeliest classes of every IMAGE, by the ported network OUT.safetensors.

    Images are prepared as the file's metadata say: centre crop, resize, mean and standard deviation.

    \b
    Example:
      porter classify model.safetensors macaw.jpg cat.jpg
      porter classify model.safetensors flower.jpg --labels flowers.txt --json
      porter classify model.safetensors val/ --out predictions.parquet --workers 4
    """
    if out is not None:
        _write(source, images, out, labels_file, trust_table, as_json, asked)
        return
    try:
        from porter.loading.classification import Classifier
        from porter.loading.labels import imagenet_labels, read_labels
    except ImportError as error:
        raise MissingDependencyError(
            "classify/no-torch", f"{error.name} is not installed", hint="pip install 'port-weights[torch]'"
        ) from None
    classifier = Classifier(source, trust_table=trust_table)
    classes = classifier.classes
    labels = read_labels(labels_file, classes) if labels_file else imagenet_labels(classes)
    seen = [(image, classifier.see(image, labels)) for image in images]
    if as_json:
        click.echo(json.dumps(_document(classifier, labels, seen), indent=2))
        return
    prepared = classifier.ported.input
    crop = f"centre crop of {prepared['crop_pct']:g}" if prepared["crop_pct"] != 1 else "whole centre square"
    click.echo(f"network   {classifier.ported.variant}")
    click.echo(f"images  {crop}, {prepared['size']}x{prepared['size']}, {prepared['interpolation']}")
    click.echo(f"labels    {labels.source}")
    if classifier.activation == "sigmoid":
        click.echo("classes   each by itself (sigmoid): their probabilities do not add up to one")
    for image, guesses in seen:
        click.echo(f"\n{image}")
        for guess in guesses:
            click.echo(f"  {guess.probability:8.3%}  {guess.number:>5}  {guess.label}")


def _write(
    source: Path,
    images: tuple[Path, ...],
    out: Path,
    labels: Path | None,
    trust_table: bool,
    as_json: bool,
    asked: dict[str, Any],
) -> None:
    """Write a row for each image of a data set."""
    if len(images) != 1:
        raise click.UsageError("--out takes one folder, Parquet file, tar or list in place of IMAGE.")
    from porter.agreement.predicting import predict

    engine = engine_of(asked)
    with shown_images("classify", out.with_name(f"{out.name}.unfinished")) as shown:
        done = predict(
            source,
            images[0],
            out,
            labels=labels,
            engine=engine,
            trust_table=trust_table,
            phase=shown.phase,
            progress=shown.images,
        )
    if as_json:
        click.echo(json.dumps({**done._asdict(), "path": str(done.path)}, indent=2))
        return
    click.echo(f"wrote     {done.path} ({done.images} images)")
    if done.faults:
        click.echo(f"unreadable  {done.faults} images:")
        for key, fault in done.unusable:
            click.echo(f"  {key}: {fault}")


def _document(
    classifier: Classifier, labels: Labels, seen: list[tuple[Path, tuple[Prediction, ...]]]
) -> dict[str, object]:
    return {
        "schema": "porter-classify",
        "schema_version": 1,
        "variant": classifier.ported.variant,
        "classes": classifier.classes,
        "activation": classifier.activation,
        "labels": labels.source,
        "images": [
            {"file": str(image), "best": [guess._asdict() for guess in guesses]} for image, guesses in seen
        ],
    }
