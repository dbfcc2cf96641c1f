"""`porter golden`: record goldens with TensorFlow, verify them without."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from porter.checks.check import Checked
from porter.checks.goldens import record_goldens, verify_goldens
from porter.cli.command import Command
from porter.cli.options import json_option, table_option
from porter.cli.outcome import explained
from porter.parity.golden_files import golden_folder, golden_path
from porter.report.text import text
from porter.tables.variants import Tables

_folder_option = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the goldens are kept.  [default: those that come with porter]",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def golden() -> None:
    """Keep a port proved in CI: record what TensorFlow computes once, check it with torch alone.

    \b
    Example:
      porter golden record conv_small --folder golden
      porter golden verify
    """


@golden.command("record", cls=Command)
@click.argument("variants", nargs=-1, required=True, metavar="VARIANT...")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of weights, input and samples.")
@_folder_option
@table_option
def record(variants: tuple[str, ...], seed: int, folder: Path | None, tables: Tables) -> None:
    """Run VARIANT in TensorFlow on random weights and write its golden, at most 300 KB.

    The weights are not stored: they follow from the seed and each variable's name.

    \b
    Example:
      porter golden record conv_small hybrid_medium
    """
    for path in record_goldens([tables.variant(name) for name in variants], folder, seed=seed):
        click.echo(f"{path}  {path.stat().st_size / 1000:.0f} KB")


@golden.command("verify", cls=Command)
@click.argument("variants", nargs=-1, metavar="[VARIANT...]")
@_folder_option
@table_option
@json_option
@click.pass_context
def verify(
    ctx: click.Context, variants: tuple[str, ...], folder: Path | None, tables: Tables, as_json: bool
) -> None:
    """Check the ports of VARIANT, or of every golden there is, with torch and without TensorFlow.

    Exit code 0 means that all are in parity; 1 that one is not, or is stale because its table changed.

    \b
    Example:
      porter golden verify
      porter golden verify conv_small --json
    """
    wanted = [tables.variant(name) for name in variants]
    paths = [golden_path(variant, folder) for variant in wanted]
    for name, path in zip(variants, paths, strict=True):
        if not path.exists():
            raise click.UsageError(f"There is no golden of {name}: {path} does not exist.")
    if not wanted:
        paths = [path for v in tables.variants.values() if (path := golden_path(v, folder)).exists()]
    if not paths:
        raise click.UsageError(f"There is no golden in {folder or golden_folder()}.")
    outcomes = verify_goldens(paths, tables)
    if as_json:
        click.echo(json.dumps([explained(checked, tables).to_json() for checked in outcomes], indent=2))
    else:
        for checked in outcomes:
            click.echo(_line(checked))
        for checked in outcomes:
            if not checked.report.passed:
                report = explained(checked, tables)
                click.echo(f"\n{text(report, colour=sys.stdout.isatty())}")
    ctx.exit(0 if all(checked.report.passed for checked in outcomes) else 1)


def _line(checked: Checked) -> str:
    report = checked.report
    name = f"{checked.expected.provenance.variant or ''}"
    worst = [f"{'x'.join(map(str, case.size))}: {case.worst:.1e}" for case in report.cases]
    return f"{name:<36}{report.verdict.value:<12}{'  '.join(worst)}"
