"""`porter classify`: what a ported network sees in images."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from porter.cli.command import Command
from porter.cli.many_images import engine_of, engine_options, shown_images
from porter.cli.shared_options import json_option, trust_option
from porter.data.files import OneImage
from porter.data.items import Item
from porter.data.opening import open_data, read_items
from porter.errors import MissingDependencyError

if TYPE_CHECKING:  # imports torch
    from porter.loading.classification import Classifier, Seen
    from porter.loading.labels import Labels


_DATA = (".parquet", ".tar", ".txt")


@click.command("classify", cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", metavar="OUT.safetensors", type=click.Path(path_type=Path))
@click.argument("images", metavar="IMAGE...", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--labels",
    "labels_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Names of the classes, one a line.  [default: the source's, or ImageNet's if there are 1000 or 1001 "
    "classes]",
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

    IMAGE is an image, a folder of images, Parquet, a .tar, or a .txt with the path of an image a line. Images
    are prepared as the file's metadata say: centre crop, resize, mean and standard deviation.

    \b
    Example:
      porter classify model.safetensors macaw.jpg holiday/
      porter classify model.safetensors flower.jpg --labels flowers.txt --json
      porter classify model.safetensors val/ --out predictions.parquet --workers 4
    """
    if out is not None:
        _write(source, images, out, labels_file, trust_table, as_json, asked)
        return
    _refuse_engine()
    try:
        from porter.loading.classification import Classifier
        from porter.loading.labels import labels_of, read_labels
    except ImportError as error:
        raise MissingDependencyError(
            "classify/no-torch", f"{error.name} is not installed", hint="pip install 'port-weights[torch]'"
        ) from None
    classifier = Classifier(source, trust_table=trust_table)
    classes = classifier.classes
    labels = read_labels(labels_file, classes) if labels_file else labels_of(classifier.ported, classes)
    seen = _seen(classifier, labels, images, asked["batch"])
    if as_json:
        click.echo(json.dumps(_document(classifier, labels, seen), indent=2))
        return
    _print_head(classifier, labels)
    unreadable = []
    for image, (fault, guesses) in seen:
        if fault:
            unreadable.append(f"  {image}: {fault.problem}")
            continue
        click.echo(f"\n{image}")
        for guess in guesses:
            click.echo(f"  {guess.probability:8.3%}  {guess.number:>5}  {guess.label}")
    if unreadable:
        click.echo(f"\nunreadable  {len(unreadable)} images:\n" + "\n".join(unreadable), err=True)


def _refuse_engine() -> None:
    """Refuse the options of a run over a data set: without --out one process does it all."""
    context = click.get_current_context()
    for name in ("workers", "engine", "ray_address", "gpus_per_worker"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} goes with --out.")


def _seen(
    classifier: Classifier, labels: Labels, given: Sequence[Path], batch: int
) -> Iterator[tuple[str, Seen]]:
    """Yield every image's name and what the network sees in it, a batch at a time.

    Raises:
        ParityError: none of them can be read.
    """
    usable, first = 0, None
    items = (item for path in given for item in _items(path))
    while some := list(islice(items, batch)):
        for item, seen in zip(some, classifier.see(some, labels), strict=True):
            usable += not seen.error
            first = first or seen.error
            yield item.key, seen
    if first and not usable:
        raise first


def _items(path: Path) -> Iterator[Item]:
    """Yield the images of a file or a data set, named by where they lie."""
    if not (path.is_dir() or path.suffix.lower() in _DATA):
        yield next(read_items(OneImage(path)))._replace(key=str(path))
        return
    for item in read_items(open_data(path)):
        yield item._replace(key=str(path / item.key) if path.is_dir() else item.key)


def _print_head(classifier: Classifier, labels: Labels) -> None:
    """Say what the network is, and how images are prepared for it."""
    prepared = classifier.ported.input
    crop = f"centre crop of {prepared['crop_pct']:g}" if prepared["crop_pct"] != 1 else "whole centre square"
    click.echo(f"network   {classifier.ported.variant}")
    click.echo(f"images    {crop}, {prepared['size']}x{prepared['size']}, {prepared['interpolation']}")
    click.echo(f"labels    {labels.source}")
    if classifier.activation == "sigmoid":
        click.echo("classes   each by itself (sigmoid): their probabilities do not add up to one")


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
        if done.faults > len(done.unusable):
            click.echo(f"  and {done.faults - len(done.unusable)} more, see the column fault")


def _document(classifier: Classifier, labels: Labels, seen: Iterable[tuple[str, Seen]]) -> dict[str, object]:
    return {
        "schema": "porter-classify",
        "schema_version": 1,
        "variant": classifier.ported.variant,
        "classes": classifier.classes,
        "activation": classifier.activation,
        "labels": labels.source,
        "images": [
            {
                "file": image,
                **({"fault": fault.problem} if fault else {"best": [guess._asdict() for guess in guesses]}),
            }
            for image, (fault, guesses) in seen
        ],
    }
