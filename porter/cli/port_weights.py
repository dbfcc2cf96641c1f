"""`port-weights`: a checkpoint to a safetensors file that timm loads."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import click

from porter.checkpoints import open_checkpoint
from porter.choices import ChannelOrder, Classes
from porter.cli.command import Command
from porter.cli.options import json_option, table_option, verbosity_options
from porter.ledger import Bucket
from porter.planning import Plan, plan
from porter.porting import PortResult, carry_out
from porter.tables import Tables
from porter.targets.aim import Aim, aim
from porter.targets.table import TARGETS
from porter.transfer import Progress

# Below this a port is over before a person could read the bar.
_PROGRESS_BYTES = 200_000_000
# Where most networks have nothing, a count of nothing is not worth its place.
_RARE = (Bucket.FOLDED, Bucket.LEFT_OUT)


@click.command("port-weights", cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path), required=False)
@click.option("--variant", metavar="NAME", help="The network, where names and shapes alone do not decide.")
@click.option(
    "--weights",
    type=click.Choice(["auto", "raw", "ema"]),
    default="auto",
    show_default=True,
    help="Moving averages: auto reads them wherever there are any, ema insists on them, raw ignores them.",
)
@click.option(
    "--bn-eps",
    type=click.FloatRange(min=0, min_open=True),
    metavar="FLOAT",
    help="Batch normalisation epsilon of the training; no checkpoint stores it.  [default: see porter table]",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16", "bfloat16"]),
    help="Convert floating-point tensors.  [default: as stored]",
)
@click.option(
    "--classes",
    type=click.Choice(["all", "drop-background"]),
    default="all",
    show_default=True,
    help="Of 1001 classes the first is background: keep it, or leave it out.",
)
@click.option(
    "--channel-order",
    type=click.Choice(["rgb"]),
    help="Turn the first convolution of a network that takes BGR pictures round.  [default: as stored]",
)
@click.option(
    "--target",
    type=click.Choice(TARGETS),
    default="timm",
    show_default=True,
    help="Library to write for: transformers gives a folder for from_pretrained.",
)
@click.option("--dry-run", is_flag=True, help="Plan and report; read no weights, write nothing.")
@table_option
@json_option
@verbosity_options
def port_weights(
    source: Path,
    out: Path | None,
    variant: str | None,
    weights: Literal["auto", "raw", "ema"],
    bn_eps: float | None,
    dtype: str | None,
    classes: Classes,
    channel_order: ChannelOrder | None,
    target: str,
    dry_run: bool,
    tables: Tables,
    as_json: bool,
    verbosity: int,
) -> None:
    r"""Port the TensorFlow weights in SOURCE to the safetensors file OUT, for timm or another library.

    SOURCE is a checkpoint prefix (ckpt-100), its .index file, a training directory (latest step) or a
    SavedModel. The network is recognised from names and shapes. OUT appears whole or not at all.

    \b
    Example:
      port-weights training/ckpt-100 model.safetensors
      port-weights training/ --dry-run -v
      port-weights saved_model/ model.safetensors --weights raw --dtype float16
      port-weights training/ model/ --target transformers
    """
    if out is None and not dry_run:
        raise click.UsageError("Missing argument 'OUT' (it may be left out with --dry-run only).")
    with open_checkpoint(source) as checkpoint:
        made = plan(
            checkpoint,
            tables,
            variant,
            weights=weights,
            bn_eps=bn_eps,
            classes=classes,
            channel_order=channel_order,
        )
        aimed = None if target == "timm" else aim(made, target)
        container = checkpoint.format
        result = None
        if out is not None and not dry_run:
            with _progress(quiet=verbosity < 0) as progress:
                result = carry_out(checkpoint, made, out, dtype=dtype, aimed=aimed, progress=progress)
    for warning in _warnings(made, aimed, result):
        click.echo(f"Warning: {warning}", err=True)
    if as_json:
        click.echo(json.dumps(_document(made, aimed, container, result), indent=2))
    elif verbosity >= 0:
        for line in _lines(made, aimed, source, container, result, verbose=verbosity > 0):
            click.echo(line)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Progress | None]:
    """Give a callback that draws a bar, where there is a person to see it and something to wait for."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    bar: Any = None

    def advance(done: int, total: int) -> None:
        nonlocal bar
        if total < _PROGRESS_BYTES:
            return
        if bar is None:
            from porter.cli.progress import byte_bar

            bar = byte_bar(total)
            bar.start()
        bar.update(bar.task_ids[0], completed=done)

    try:
        yield advance
    finally:
        if bar is not None:
            bar.stop()


def _warnings(made: Plan, aimed: Aim | None, result: PortResult | None) -> Iterator[str]:
    yield from made.notes
    if aimed is not None:
        yield from aimed.notes
    if result is not None:
        yield from map(str, result.report.findings)


def _lines(
    made: Plan, aimed: Aim | None, source: Path, container: str, result: PortResult | None, *, verbose: bool
) -> Iterator[str]:
    yield f"network   {made.variant.name}: {made.variant.title} to {aimed.table.title if aimed else 'timm'}"
    yield f"source    {source} ({container})"
    yield f"weights   {_weights(made)}"
    if made.bn_eps is not None:
        yield f"bn_eps    {made.bn_eps:g} ({made.bn_eps_source})"
    counts = Counter(line.bucket for line in made.ledger)
    yield "ledger    " + ", ".join(
        f"{counts[bucket]} {bucket.value}" for bucket in Bucket if counts[bucket] or bucket not in _RARE
    )
    if verbose:
        width = max(len(line.path) for line in made.ledger)
        for line in made.ledger:
            yield f"  {line.bucket.value:<12} {line.path:<{width}}  {line.reason}"
    if result is None:
        yield "dry run   nothing was read or written"
        return
    report = result.report
    yield f"wrote     {result.out} ({report.nbytes / 1e6:.1f} MB, {report.tensors} tensors)"
    yield result.loading_line


def _weights(made: Plan) -> str:
    if made.weights == "raw":
        return "as trained (no moving average is read)"
    total = sum(bool(assignment.parts) for assignment in made.assignments)
    rest = total - made.from_average
    raw = f", as trained for {rest} that have none" if rest else ""
    return f"moving average for {made.from_average} variables{raw}"


def _document(made: Plan, aimed: Aim | None, container: str, result: PortResult | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "schema": "porter-port",
        "schema_version": 1,
        "variant": made.variant.name,
        "model": made.variant.target.name,
        "arguments": dict(made.arguments),
        "source_format": container,
        "weights": {"read": made.weights, "from_average": made.from_average},
        "bn_eps": {"value": made.bn_eps, "source": made.bn_eps_source},
        "target": aimed.table.target if aimed else "timm",
        "notes": [*made.notes, *(aimed.notes if aimed else ())],
        "ledger": [
            {"key": line.key, "path": line.path, "bucket": line.bucket.value, "reason": line.reason}
            for line in made.ledger
        ],
        "targets": [
            {
                "name": assignment.target,
                "shape": list(assignment.shape),
                "sources": [part.key for part in assignment.sources],
                "layouts": [part.layout.pattern for part in assignment.sources],
            }
            for assignment in (aimed or made).assignments
        ],
        "out": None,
    }
    if result is not None:
        report = result.report
        document["out"] = {
            "path": str(result.out),
            "size": report.nbytes,
            "source_files": [asdict(file) for file in report.sources],
            "findings": [asdict(finding) for finding in report.findings],
            "load": result.loading_line,
        }
    return document
