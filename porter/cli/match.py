"""`porter match`: find and prove the mapping of any network."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from porter.cli.command import Command
from porter.cli.shared_options import SomePath, json_option, verbosity_options
from porter.transfer.atomic_file import require_writable, write_whole


@click.command("match", cls=Command)
@click.argument("source", type=SomePath())
@click.option(
    "--target",
    required=True,
    metavar="TARGET",
    help="The PyTorch network: timm:NAME, torchvision:NAME, transformers:CLASS or module:function.",
)
@click.option(
    "--source",
    "function",
    default="",
    metavar="MODULE:FUNCTION",
    help="Code of yours that returns the network whose weights SOURCE holds; it is imported and called.",
)
@click.option(
    "--argument",
    "arguments",
    multiple=True,
    metavar="NAME=VALUE",
    help="Passed to what builds TARGET; repeatable.",
)
@click.option(
    "-o", "--output", "out", type=click.Path(path_type=Path), metavar="FILE", help="Write the table here."
)
@click.option(
    "--html",
    "html_out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a page with both networks side by side here.",
)
@click.option(
    "--adjust",
    is_flag=True,
    help="Let padding, epsilons and averages of the PyTorch network be changed, and say so in the table.",
)
@click.option(
    "--size", type=click.IntRange(min=8), metavar="PIXELS", help="Side of the images to match with."
)
@json_option
@verbosity_options
def match(
    source: Path,
    target: str,
    function: str,
    arguments: tuple[str, ...],
    out: Path | None,
    html_out: Path | None,
    adjust: bool,
    size: int | None,
    as_json: bool,
    verbosity: int,
) -> None:
    """Find how the variables in SOURCE map to the PyTorch network TARGET, by running both, and prove it.

    SOURCE is a file that carries its network (.h5, .keras, SavedModel, frozen graph), or a checkpoint with
    --source; a checkpoint alone gives a draft, by kind, shape and order. TARGET is timm:NAME,
    torchvision:NAME, transformers:CLASS, or module:function, code of yours that returns a torch.nn.Module.

    Exit 0 where the mapping is proved: both networks agree in float64 at every layer, with SOURCE's weights
    and with random ones, and use every parameter. Exit 1 for a draft, which says what is open.

    \b
    Example:
      porter match model.h5 --target my_package.models:build -o mine.toml
      porter match densenet.keras --target torchvision:densenet121 -o densenet.toml
      porter match ckpt-100 --source my_package.tf_model:build --target timm:mobilenetv2_100 --adjust
    """
    from porter.matching.match import match as find

    if out is not None:
        _require_table(out)
    if html_out is not None:
        require_writable(html_out)
    square = None if size is None else (size, size)
    found = find(source, target, function=function, arguments=arguments, adjust=adjust, size=square)
    if out is not None:
        found.save(out)
    if html_out is not None:
        write_whole(html_out, found.html())
    if as_json:
        click.echo(json.dumps(found.json(), indent=2))
    elif verbosity >= 0:
        click.echo(found.text(verbose=verbosity > 0))
        if out is not None:
            click.echo(f"  written to {out}")
    sys.exit(0 if found.status == "proved" else 1)


def _require_table(out: Path) -> None:
    """Refuse a file that could not be written, or is no table, before the networks are run."""
    if out.suffix != ".toml":
        raise click.UsageError("The file of --output must end in .toml.")
    require_writable(out)
