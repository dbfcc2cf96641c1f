"""`porter table`: one network's mapping table, expanded to a line per tensor."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Literal

import click

from porter.cli.columns import columns
from porter.cli.command import Command
from porter.cli.shared_options import table_option, trust_option
from porter.tables.known_tables import Tables
from porter.tables.table_records import Dim, Proof
from porter.tables.variants import Entry, Variant

_HEADER = ("source", "source shape", "layout", "target", "target shape")


@click.command("table", cls=Command)
@click.argument("variant", required=False)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "csv", "json"]),
    default="text",
    show_default=True,
    help="How to print it.",
)
@click.option(
    "--check",
    "checked",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Say everything that is wrong with the table in FILE.",
)
@click.option(
    "--against",
    metavar="CKPT",
    type=click.Path(path_type=Path),
    help="With --check: say which rules do not fit this checkpoint.",
)
@table_option
@trust_option
def table(
    variant: str | None,
    form: Literal["text", "csv", "json"],
    checked: Path | None,
    against: Path | None,
    tables: Tables,
    trust_table: bool,
) -> None:
    """Print the mapping table of VARIANT: source, shape, layout, target, shape.

    Sources are object paths below a classification model. A name in a shape is a length that the
    checkpoint decides. VARIANT may be shortened to a unique ending.

    With --check, print a line per fault of a table: file, section, key, what was expected and found. Where
    timm is installed, targets are held against the PyTorch network too. Exit 0 without faults, else 1.

    \b
    Example:
      porter table hybrid_medium
      porter table mobilenetv4_conv_small --format csv > conv_small.csv
      porter table my_network --table my_network.toml
      porter table --check my_network.toml --against ckpt-100
    """
    if checked is not None:
        if variant is not None:
            raise click.UsageError("--check takes a file instead of VARIANT: give one of them.")
        from porter.cli.check_table import check

        sys.exit(check(checked, against, trust_table=trust_table))
    if against is not None:
        raise click.UsageError("--against goes with --check.")
    if variant is None:
        raise click.UsageError("Missing argument 'VARIANT' (it may be left out with --check only).")
    found = tables.variant(variant)
    if form == "json":
        click.echo(json.dumps(_document(found), indent=2))
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(_HEADER)
        writer.writerows(_rows(found))
    else:
        for line in _lines(found):
            click.echo(line)


def _rows(variant: Variant) -> list[tuple[str, str, str, str, str]]:
    return [
        (
            variant.full_source(entry),
            _shape(entry.source_shape),
            _change(entry),
            entry.target,
            _shape(entry.target_shape),
        )
        for entry in variant.entries
    ]


def _change(entry: Entry) -> str:
    """Return what becomes of the values: the axis order, and the arithmetic if there is any."""
    scale = f" x {entry.scale}" if entry.scale != 1.0 else ""
    fate = ", joined" if entry.join else ", subtracted" if entry.folded else ""
    return f"{entry.layout.pattern}{scale}{fate}"


def _lines(variant: Variant) -> list[str]:
    target = variant.target
    arguments = ", ".join(f"{name}={value!r}" for name, value in target.arguments.items())
    library = "timm's classes as" if variant.is_own else variant.library
    lines = [f"{variant.name} ({variant.title}): {library} {target.name}({arguments})"]
    if variant.bn_eps:
        note = f"; {variant.bn_eps.note}" if variant.bn_eps.note else ""
        lines.append(f"bn_eps {variant.bn_eps.default:g}: {variant.bn_eps.source}{note}")
    if variant.adjust:
        lines.append(f"changed in the finished network: {json.dumps(variant.adjust)}")
    lines += [
        f"{c.target} ({_shape(c.shape)}) is {c.value:g}: TensorFlow does without" for c in variant.constants
    ]
    if variant.proof is not None:
        lines.append(f"status {variant.proof.status}: {_proof(variant.proof)}")
    lines.append(f"{len(variant.counters)} batch counters (num_batches_tracked) are written as 0")
    return [*lines, "", *columns(_HEADER, _rows(variant))]


def _proof(proof: Proof) -> str:
    if proof.status == "draft":
        return "; ".join(proof.open) or "not proved"
    at = f"at {', '.join(proof.sizes)}" if proof.sizes else ""
    return f"worst relative difference {proof.worst:.1e} {at} ({proof.ran})"


def _document(variant: Variant) -> dict[str, object]:
    return {
        "schema": "porter-table",
        "schema_version": 1,
        "variant": variant.name,
        "source": {"builder": variant.source.name, "arguments": dict(variant.source.arguments)},
        "target": {
            "library": variant.library,
            "model": variant.target.name,
            "arguments": dict(variant.target.arguments),
            "adjust": dict(variant.adjust),
        },
        "proof": variant.proof and variant.proof._asdict(),
        "constants": [
            {"target": each.target, "target_shape": list(each.shape), "value": each.value}
            for each in variant.constants
        ],
        "network": variant.network,
        "bn_eps": variant.bn_eps and {"default": variant.bn_eps.default, "source": variant.bn_eps.source},
        "sha256": variant.digest,
        "entries": [
            {
                "source": variant.full_source(entry),
                "source_shape": list(entry.source_shape),
                "layout": entry.layout.pattern,
                "target": entry.target,
                "target_shape": list(entry.target_shape),
                "kind": entry.kind,
                **dict(entry.extras),
                "block": entry.block,
            }
            for entry in variant.entries
        ],
        "counters": [name for _, name in variant.counters],
        "stages": [
            {"name": stage.name, "source": stage.source, "target": list(stage.target)}
            for stage in variant.stages
        ],
    }


def _shape(dims: tuple[Dim, ...]) -> str:
    return "x".join(map(str, dims)) or "scalar"
