"""`porter variants`: the networks that porter knows."""

from __future__ import annotations

import json
from collections.abc import Mapping

import click

from porter.cli.columns import columns
from porter.cli.command import Command
from porter.cli.shared_options import json_option, table_option
from porter.parity.golden_files import golden_path
from porter.parity.measurements import Measurement, read_measurements, support, worst_of
from porter.report.support import numbered_notes, support_table
from porter.tables.known_tables import Tables
from porter.tables.variants import Variant


@click.command("variants", cls=Command)
@table_option
@json_option
@click.option("--markdown", is_flag=True, help="Print the support table, a row per family.")
def variants(tables: Tables, as_json: bool, markdown: bool) -> None:
    """List the networks that porter knows: both sides of each pair, and how far it is proved.

    float64 is the largest relative difference of any stage in a live check against TensorFlow; KB is the size
    of the golden. What no table can prove is not said to work.

    \b
    Example:
      porter variants
      porter variants --json
    """
    if as_json and markdown:
        raise click.UsageError("--json and --markdown exclude each other.")
    known = list(tables.variants.values())
    measured = read_measurements()
    if markdown:
        click.echo(support_table(known, measured), nl=False)
    elif as_json:
        click.echo(json.dumps([_document(variant, measured) for variant in known], indent=2))
    else:
        notes = numbered_notes(known)
        header = ("variant", "TensorFlow", "PyTorch", "float64", "KB", "status")
        for line in columns(header, [_row(variant, measured, notes) for variant in known]):
            click.echo(line)
        for note, mark in notes.items():
            click.echo(f"{mark} {note}")


def _row(variant: Variant, measured: Mapping[str, Measurement], notes: Mapping[str, str]) -> tuple[str, ...]:
    worst, size = worst_of([variant], measured), _golden_bytes(variant)
    return (
        variant.name,
        _call(variant.source.name, variant.source.arguments),
        variant.target.name,
        "-" if worst is None else f"{worst:.1e}",
        "-" if size is None else f"{size / 1000:.0f}",
        " ".join(filter(None, (support(variant, measured).value, notes.get(variant.note)))),
    )


def _golden_bytes(variant: Variant) -> int | None:
    path = golden_path(variant)
    return path.stat().st_size if path.is_file() else None


def _document(variant: Variant, measured: Mapping[str, Measurement]) -> dict[str, object]:
    return {
        "status": support(variant, measured).value,
        "float64": measured[variant.name].worst if variant.name in measured else None,
        "golden_bytes": _golden_bytes(variant),
        "note": variant.note,
        "variant": variant.name,
        "source": {"builder": variant.source.name, "arguments": dict(variant.source.arguments)},
        "target": {"model": variant.target.name, "arguments": dict(variant.target.arguments)},
        "bn_eps": variant.bn_eps and variant.bn_eps.default,
        "input_size": variant.input.size,
        "table": {"file": variant.table.name, "version": variant.version, "sha256": variant.digest},
    }


def _call(builder: str, arguments: object) -> str:
    values = arguments.values() if isinstance(arguments, dict) else ()
    told = ("[...]" if isinstance(value, list) else str(value) for value in values)
    return f"{builder}({', '.join(filter(None, told))})"
