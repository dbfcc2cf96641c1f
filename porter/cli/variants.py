"""`porter variants`: the networks that porter knows."""

from __future__ import annotations

import json

import click

from porter.cli.columns import columns
from porter.cli.command import Command
from porter.cli.options import json_option, table_option
from porter.tables import Tables, Variant


@click.command("variants", cls=Command)
@table_option
@json_option
def variants(tables: Tables, as_json: bool) -> None:
    r"""List the networks that porter knows, with both sides of each pair.

    \b
    Example:
      porter variants
      porter variants --json
    """
    known = tables.variants.values()
    if as_json:
        click.echo(json.dumps([_document(variant) for variant in known], indent=2))
        return
    rows = [(v.name, _call(v.source.name, v.source.arguments), f"timm {v.target.name}") for v in known]
    for line in columns(("variant", "TensorFlow", "PyTorch"), rows):
        click.echo(line)


def _document(variant: Variant) -> dict[str, object]:
    return {
        "variant": variant.name,
        "source": {"builder": variant.source.name, "arguments": dict(variant.source.arguments)},
        "target": {"model": variant.target.name, "arguments": dict(variant.target.arguments)},
        "bn_eps": variant.bn_eps and variant.bn_eps.default,
        "input_size": variant.input.size,
        "table": {"file": variant.table.name, "version": variant.version, "sha256": variant.digest},
    }


def _call(builder: str, arguments: object) -> str:
    values = arguments.values() if isinstance(arguments, dict) else ()
    return f"{builder}({', '.join(map(str, values))})"
