"""What `port-weights --out-dir` does and says: a line for each source, and a summary."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from porter.cli.sweep_options import Sweep
from porter.errors import OutputError
from porter.outputs.many import port_many as many
from porter.outputs.many.records import ManyPorts, PortedSource
from porter.outputs.output_options import OutputOptions
from porter.planning.port_options import PortOptions

_CHOICES = ("output/no-name", "output/same-name")


def port_many(
    sources: Sequence[Path],
    sweep: Sweep,
    options: PortOptions,
    form: OutputOptions,
    *,
    dry_run: bool,
    table: Path | None,
    as_json: bool,
    verbosity: int,
) -> None:
    """Port every source, and end the command: with exit code 1 if one has no port."""

    def tell(port: PortedSource) -> None:
        if as_json:
            click.echo(json.dumps({"schema": "porter-port-of-many", "schema_version": 1, **port.to_json()}))
        elif not port.passed:
            click.echo(_line(port), err=True)
        elif verbosity >= 0:
            click.echo(_line(port))

    try:
        done = many.port_many(
            sources,
            sweep.out_dir,
            jobs=sweep.jobs,
            keep_going=sweep.keep_going,
            parents=sweep.parents,
            table=table,
            options=options,
            target=form.target,
            fold_bn=form.fold_bn,
            max_shard_size=form.max_shard_size,
            dry_run=dry_run,
            done=tell,
        )
    except OutputError as error:
        if error.code not in _CHOICES:
            raise
        first, *details = str(error).splitlines()
        raise click.UsageError("\n".join([f"{first} [{error.code}]", *details])) from None
    for warning in _warnings(done):
        click.echo(f"Warning: {warning}", err=True)
    if as_json:
        click.echo(json.dumps({"schema": "porter-ports-of-many", "schema_version": 1, **done.to_json()}))
    elif verbosity >= 0:
        click.echo(_summary(done))
    click.get_current_context().exit(0 if done.passed else 1)


def _line(port: PortedSource) -> str:
    if port.error is not None:
        named = "" if port.error.file == str(port.source) else f"{port.source}: "
        return f"{'failed':<9} {named}{port.error} [{port.error.code}]"
    if not port.passed:
        return f"{port.status:<9} {port.source}"
    size = "" if port.nbytes is None else f", {port.nbytes / 1e6:.1f} MB"
    return f"{port.status:<9} {port.source} -> {port.out} ({port.variant}{size}, {port.seconds:.1f} s)"


def _warnings(done: ManyPorts) -> Iterator[str]:
    """Yield each warning once, with the sources that it is about: a sweep has most of them in common."""
    about: dict[str, list[str]] = {}
    for port in done.ports:
        for note in port.notes:
            about.setdefault(note, []).append(str(port.source))
    for note, (first, *others) in about.items():
        yield f"{first}{f' and {len(others)} more' if others else ''}: {note}"


def _summary(done: ManyPorts) -> str:
    told = ", ".join(f"{count} {status}" for status, count in sorted(done.counts.items()))
    hint = "; --keep-going begins them too" if done.counts.get("not begun") else ""
    sources = "1 source" if len(done.ports) == 1 else f"{len(done.ports)} sources"
    return f"{sources} in {done.seconds:.1f} s: {told}{hint}"
