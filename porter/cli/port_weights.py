"""`port-weights`: a checkpoint to a safetensors file that timm loads."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from porter.cli.command import Command
from porter.cli.shared_options import (
    SomePath,
    json_option,
    output_options,
    port_options,
    table_file_option,
    verbosity_options,
)
from porter.cli.sweep_options import Sweep, sweep_options
from porter.errors import OutputError
from porter.outputs.forms import chosen_output

if TYPE_CHECKING:  # importing these takes longer than reading an index; see `port_weights`
    from porter.core.checkpoint import Checkpoint
    from porter.outputs.output import Output
    from porter.outputs.output_options import OutputOptions
    from porter.planning.port_options import PortOptions
    from porter.transfer.source_hashes import SourceHashes
    from porter.transfer.transfer import TransferReport


@click.command("port-weights", cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", type=SomePath())
@click.argument("out", type=SomePath(), required=False)
@click.argument("more", type=SomePath(), nargs=-1, metavar="")
@port_options()
@output_options
@click.option(
    "--hub-folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Instead of OUT, write a folder that timm loads as local-dir:DIR, with a model card for a hub.",
)
@sweep_options
@click.option("--dry-run", is_flag=True, help="Plan and report; read no weights, write nothing.")
@table_file_option
@json_option
@verbosity_options
def port_weights(
    source: Path,
    out: Path | None,
    more: tuple[Path, ...],
    options: PortOptions,
    form: OutputOptions,
    hub_folder: Path | None,
    sweep: Sweep | None,
    **asked: Any,
) -> None:
    """Port the TensorFlow weights in SOURCE to the safetensors file OUT, for timm or another library.

    SOURCE is a checkpoint prefix (ckpt-100), its .index file, a training directory (latest step), a
    SavedModel, a Keras file (.h5, .weights.h5, .keras) or a frozen graph (.pb). The network is recognised
    from names and shapes. OUT appears whole or not at all. With --out-dir every name is a SOURCE.

    \b
    Example:
      port-weights training/ckpt-100 model.safetensors
      port-weights training/ --dry-run -v
      port-weights saved_model/ model.safetensors --weights raw --dtype float16
      port-weights training/ model/ --target transformers
      port-weights training/ --hub-folder my_mobilenet
      port-weights sweep/*.h5 --out-dir ported --keep-going
    """
    if sweep is None:
        if more:
            raise click.UsageError(f"Got unexpected extra argument{'s' * (len(more) > 1)} ({_words(more)})")
        _port_one(source, out, options, form, hub_folder, **asked)
        return
    if hub_folder is not None:
        raise click.UsageError("--hub-folder names one folder: with --out-dir, give --target hub-folder.")
    from porter.cli.port_many import port_many

    port_many([source, *([out] if out else []), *more], sweep, options, form, **asked)


def _words(paths: Sequence[Path]) -> str:
    return " ".join(map(str, paths))


def _port_one(
    source: Path,
    out: Path | None,
    options: PortOptions,
    form: OutputOptions,
    hub_folder: Path | None,
    *,
    dry_run: bool,
    table: Path | None,
    as_json: bool,
    verbosity: int,
) -> None:
    form, place = _place(out, hub_folder, form, dry_run=dry_run)
    kind = _output(form, place)
    from porter.checkpoints import open_checkpoint
    from porter.transfer.source_hashes import SourceHashes

    writing = place is not None and not dry_run
    # The digests are under way while the rest of the program is still being imported.
    with (
        open_checkpoint(source) as checkpoint,
        SourceHashes(checkpoint.files) if writing else nullcontext() as hashes,
    ):
        from porter.planning.plan import plan
        from porter.tables.shipped import load_tables

        port_plan = plan(checkpoint, load_tables(*([table] if table else [])), options)
        output = kind(port_plan, options, form)
        report = None
        if place is not None and dry_run:
            output.require_place(place, checkpoint)
        elif place is not None:
            report = _written(output, checkpoint, place, hashes, quiet=verbosity < 0)
    from porter.cli.port_report import Report

    told = Report(source, checkpoint, output, place, report)
    for warning in told.warnings():
        click.echo(f"Warning: {warning}", err=True)
    if as_json:
        import json

        click.echo(json.dumps(told.document(), indent=2))
    elif verbosity >= 0:
        for line in told.lines(verbose=verbosity > 0):
            click.echo(line)


def _place(
    out: Path | None, hub_folder: Path | None, form: OutputOptions, *, dry_run: bool
) -> tuple[OutputOptions, Path | None]:
    """Return the form and what to write, of which ``--hub-folder DIR`` names both."""
    if hub_folder is not None and out is not None:
        raise click.UsageError("--hub-folder is written instead of OUT: give one of them.")
    if out is None and hub_folder is None and not dry_run:
        raise click.UsageError(
            "Missing argument 'OUT' (it may be left out with --dry-run, --hub-folder or --out-dir)."
        )
    if hub_folder is None:
        return form, out
    if form.target not in ("timm", "hub-folder"):
        raise click.UsageError("--hub-folder goes without --target: timm builds the network with its norms.")
    from dataclasses import replace

    return replace(form, target="hub-folder"), hub_folder


def _output(form: OutputOptions, place: Path | None) -> type[Output]:
    """Return the chosen form; what does not go together is wrong usage."""
    try:
        return chosen_output(form, place)
    except OutputError as error:
        raise click.UsageError(f"{error} [{error.code}]") from None


def _written(
    output: Output, checkpoint: Checkpoint, place: Path, hashes: SourceHashes | None, *, quiet: bool
) -> TransferReport:
    from porter.transfer.progress_bar import progress_bar
    from porter.transfer.transfer import Writing

    with progress_bar(quiet=quiet) as progress:
        return output.write(checkpoint, place, Writing(progress, hashes, _command_line))


def _command_line() -> str:
    """Return the command as it was given, ready for a shell, but without folders: those are private."""
    import shlex

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
