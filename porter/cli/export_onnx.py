"""`porter export-onnx`: a ported file to an ONNX file."""

from __future__ import annotations

import json
from pathlib import Path

import click

from porter.cli.command import Command
from porter.cli.shared_options import table_option, trust_option
from porter.errors import MissingDependencyError, OutputError, not_installed
from porter.loading.ported_file import Ported, read_metadata
from porter.runners.process import missing_packages
from porter.tables.known_tables import Tables
from porter.tables.variants import Variant

# Images of this side take gigabytes to be traced with: a longer one is a slip of the finger.
_LARGEST = 4096


@click.command("export-onnx", cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", metavar="OUT.safetensors", type=click.Path(path_type=Path))
@click.argument("target", metavar="MODEL.onnx", type=click.Path(path_type=Path))
@click.option(
    "--size",
    type=click.IntRange(min=1, max=_LARGEST),
    metavar="N",
    help="Take images of N x N pixels only: constant padding, batch 1.  [default: the training size]",
)
@click.option("--dynamic", is_flag=True, help="Take every batch, height and width.")
@click.option(
    "--fold-bn", is_flag=True, help="Fold norms and layer scales into the convolutions in front of them."
)
@table_option
@trust_option
def export_onnx(
    source: Path,
    target: Path,
    size: int | None,
    dynamic: bool,
    fold_bn: bool,
    tables: Tables,
    trust_table: bool,
) -> None:
    """Write the ported file OUT.safetensors as MODEL.onnx, padding as TensorFlow does.

    The input is called image: float32, NCHW, RGB (BGR if the network takes that), normalised with the mean
    and std in the file's metadata.
    The output is called logits (features if the network has no classifier). MODEL.onnx appears whole or
    not at all.

    \b
    Example:
      porter export-onnx model.safetensors model.onnx
      porter export-onnx model.safetensors model.onnx --size 256 --fold-bn
      porter export-onnx model.safetensors model.onnx --dynamic
    """
    if dynamic and size is not None:
        raise click.UsageError("--size and --dynamic exclude each other.")
    if target.suffix != ".onnx":
        raise click.UsageError("MODEL must end in .onnx: whatever reads it goes by the name.")
    ported = read_metadata(source)
    missing = missing_packages("onnx")
    if missing:
        raise MissingDependencyError(
            "onnx/not-installed",
            not_installed(missing),
            hint="pip install 'port-weights[torch,onnx]'",
        )
    from porter.onnx.export import export_onnx as export

    side = size or int(ported.input["size"])
    stages = _variant(tables, ported, source).stages
    done = export(
        source,
        target,
        size=None if dynamic else (side, side),
        fold_bn=fold_bn,
        stages=stages,
        trust_table=trust_table,
    )
    takes = f"batch 1, {side}x{side}" if done.size else "every batch, height and width"
    mean, std = map(list, ported.mean_and_std)
    click.echo(f"network   {ported.variant}")
    click.echo(f"input     image: float32 NCHW {ported.channels}, (pixel / 255 - {mean}) / {std}; {takes}")
    click.echo(f"output    {done.output}")
    if done.folding is not None:
        click.echo(f"folded    {len(done.folding.folded)} norms and layer scales")
    if done.folding is not None and done.folding.unfolded:
        click.echo(f"unfolded  {', '.join(done.folding.unfolded)} (no convolution of their own in front)")
    click.echo(f"wrote     {done.path} ({done.nbytes / 1e6:.1f} MB, {done.nodes} nodes)")


def _variant(tables: Tables, ported: Ported, source: Path) -> Variant:
    """Return the network in a ported file, which says itself what table it was ported with."""
    if ported.variant in tables.variants:
        return tables.variants[ported.variant]
    table = json.loads(ported.metadata.get("porter.table", "{}")).get("file")
    raise OutputError(
        "onnx/unknown-variant",
        "was ported with a table that is not among those that are known here",
        file=source,
        expected=f"a table with {ported.variant}",
        hint=f"Give that table: --table {table or 'FILE'}.",
    )
