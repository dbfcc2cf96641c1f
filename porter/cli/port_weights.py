"""`port-weights`: a checkpoint to a safetensors file that timm loads."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from porter.cli.byte_size import ByteSize
from porter.cli.command import Command
from porter.cli.options import SomePath, json_option, port_options, table_file_option, verbosity_options
from porter.outputs.renaming import TARGETS

if TYPE_CHECKING:  # importing these takes longer than reading an index; see `port_weights`
    from porter.core.checkpoint import Checkpoint
    from porter.outputs.port import PortResult
    from porter.planning.options import PortOptions
    from porter.planning.plan import Plan
    from porter.transfer.transfer import Progress

# Below this a port is over before a person could read the bar.
_PROGRESS_BYTES = 200_000_000


@click.command("port-weights", cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", type=SomePath())
@click.argument("out", type=SomePath(), required=False)
@port_options()
@click.option(
    "--target",
    type=click.Choice(TARGETS),
    default="timm",
    show_default=True,
    help="Library to write for: transformers gives a folder for from_pretrained, netspresso a file.",
)
@click.option(
    "--max-shard-size",
    type=ByteSize(),
    help="Write OUT as a folder of files with at most this much of tensors each (5GB, 200MB), and an index. "
    "A longer tensor has a file of its own.",
)
@click.option(
    "--fold-bn",
    is_flag=True,
    help="Fold batch norms and layer scales into the convolutions in front of them; needs porter[torch].",
)
@click.option(
    "--hub-folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Instead of OUT, write a folder that timm loads as local-dir:DIR, with a model card for a hub.",
)
@click.option("--dry-run", is_flag=True, help="Plan and report; read no weights, write nothing.")
@table_file_option
@json_option
@verbosity_options
def port_weights(
    source: Path,
    out: Path | None,
    options: PortOptions,
    target: str,
    fold_bn: bool,
    max_shard_size: int | None,
    hub_folder: Path | None,
    dry_run: bool,
    table: Path | None,
    as_json: bool,
    verbosity: int,
) -> None:
    """Port the TensorFlow weights in SOURCE to the safetensors file OUT, for timm or another library.

    SOURCE is a checkpoint prefix (ckpt-100), its .index file, a training directory (latest step), a
    SavedModel, a Keras file (.h5, .weights.h5, .keras) or a frozen graph (.pb). The network is recognised
    from names and shapes. OUT appears whole or not at all.

    \b
    Example:
      port-weights training/ckpt-100 model.safetensors
      port-weights training/ --dry-run -v
      port-weights saved_model/ model.safetensors --weights raw --dtype float16
      port-weights training/ model/ --target transformers
      port-weights training/ --hub-folder my_mobilenet
    """
    _require_sense(out, hub_folder, target, max_shard_size, fold_bn=fold_bn, dry_run=dry_run)
    from porter.checkpoints import open_checkpoint
    from porter.transfer.source_hashes import SourceHashes

    place = hub_folder or out
    writing = place is not None and not dry_run
    # The digests are under way while the rest of the program is still being imported.
    with (
        open_checkpoint(source) as checkpoint,
        SourceHashes(checkpoint.files) if writing else nullcontext() as hashes,
    ):
        from porter.planning.plan import plan
        from porter.tables.shipped import load_tables

        made = plan(checkpoint, load_tables(*([table] if table else [])), options)
        from porter.outputs.port import aim_at, carry_out

        aimed = aim_at(made, target)
        result = None
        if place is not None and writing:
            with _progress(quiet=verbosity < 0) as progress:
                how: dict[str, Any] = {"dtype": options.dtype, "progress": progress, "hashes": hashes}
                if hub_folder is not None:
                    result = _to_hub_folder(checkpoint, made, hub_folder, how)
                else:
                    how |= {"aimed": aimed, "fold_bn": fold_bn, "max_shard_size": max_shard_size}
                    result = carry_out(checkpoint, made, place, **how)
    from porter.cli import port_report

    for warning in port_report.warnings(made, aimed, result):
        click.echo(f"Warning: {warning}", err=True)
    if as_json:
        import json

        click.echo(json.dumps(port_report.document(made, aimed, checkpoint.format, result), indent=2))
    elif verbosity >= 0:
        for line in port_report.lines(made, aimed, source, checkpoint.format, result, verbose=verbosity > 0):
            click.echo(line)


def _require_sense(
    out: Path | None,
    hub_folder: Path | None,
    target: str,
    max_shard_size: int | None,
    *,
    fold_bn: bool,
    dry_run: bool,
) -> None:
    """Refuse options that do not go together."""
    if hub_folder is not None and out is not None:
        raise click.UsageError("--hub-folder is written instead of OUT: give one of them.")
    if out is None and hub_folder is None and not dry_run:
        raise click.UsageError("Missing argument 'OUT' (it may be left out with --dry-run or --hub-folder).")
    is_file = target != "transformers" and max_shard_size is None
    if out is not None and is_file and not dry_run and out.name and out.suffix != ".safetensors":
        raise click.UsageError("OUT must end in .safetensors: whatever loads it goes by the name.")
    if fold_bn and target != "timm":
        raise click.UsageError(
            "--fold-bn goes with timm only: no other library has the network without norms."
        )
    if max_shard_size is not None and target == "netspresso":
        raise click.UsageError(
            "--max-shard-size goes with timm and transformers: NetsPresso's networks load one file."
        )
    if hub_folder is not None and max_shard_size is not None:
        raise click.UsageError(
            "--hub-folder goes without --max-shard-size: of several files, timm would load the first alone."
        )
    if hub_folder is not None and (fold_bn or target != "timm"):
        raise click.UsageError(
            "--hub-folder goes without --fold-bn and --target: timm builds the network with its norms."
        )


def _to_hub_folder(checkpoint: Checkpoint, made: Plan, folder: Path, options: dict[str, Any]) -> PortResult:
    from porter.outputs.hub_folder import loading_line, write_hub_folder
    from porter.outputs.port import PortResult

    report = write_hub_folder(checkpoint, made, folder, command=_command_line(), **options)
    return PortResult(made, report, folder, load=loading_line(made, folder))


def _command_line() -> str:
    """Return the command as it was given, ready for a shell, but without folders: those are private."""
    context = click.get_current_context()
    words = ["port-weights"]
    for option in context.command.params:
        value = context.params.get(option.name or "")
        if context.get_parameter_source(option.name or "") is not ParameterSource.COMMANDLINE:
            continue
        if not isinstance(option, click.Argument):
            words.append(option.opts[0])
        if not getattr(option, "is_flag", False):
            words.append(value.name if isinstance(value, Path) and value.name else str(value))
    return shlex.join(words)


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
