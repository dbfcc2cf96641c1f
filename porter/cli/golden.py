"""`porter golden`: record goldens with TensorFlow, verify them without."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from porter.cli.command import Command
from porter.cli.phases import shown_phases
from porter.cli.shared_options import json_option, table_option
from porter.parity.golden_files import golden_folder, golden_path

if TYPE_CHECKING:
    from porter.checks.report import CheckReport
    from porter.tables.variants import Tables

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def golden() -> None:
    """Keep a port proved in CI: record what TensorFlow computes once, check it with torch alone.

    \b
    Example:
      porter golden record conv_small --folder golden
      porter golden verify --folder golden
    """


@golden.command("record", cls=Command)
@click.argument("variants", nargs=-1, required=True, metavar="VARIANT...")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of weights, input and samples.")
@click.option(
    "--folder",
    type=_FOLDER,
    default=Path("golden"),
    show_default=True,
    help="Where to write; made if it is not there.",
)
@table_option
def record(variants: tuple[str, ...], seed: int, folder: Path, tables: Tables) -> None:
    """Run VARIANT in TensorFlow on random weights and write its golden, at most 300 KB.

    The weights are not stored: they follow from the seed and each variable's name.

    \b
    Example:
      porter golden record conv_small hybrid_medium
    """
    from porter.checks.goldens import record_goldens

    wanted = [tables.variant(name) for name in variants]
    with shown_phases("recording goldens") as phase:
        phase(f"running {len(wanted)} networks in TensorFlow")
        written = record_goldens(wanted, folder, seed=seed)
    for path in written:
        click.echo(f"{path}  {path.stat().st_size / 1000:.0f} KB")


@golden.command("verify", cls=Command)
@click.argument("variants", nargs=-1, metavar="[VARIANT...]")
@click.option(
    "--folder", type=_FOLDER, help="Where the goldens are kept.  [default: those that come with porter]"
)
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
      porter golden verify conv_small --folder golden --json
    """
    paths = _paths(variants, folder, tables)
    outcomes = _verified(paths, tables)
    if as_json:
        click.echo(json.dumps([report.to_json() for report in outcomes], indent=2))
    else:
        for report in outcomes:
            click.echo(_line(report))
        for report in outcomes:
            if not report.passed:
                click.echo(f"\n{report.text(colour=sys.stdout.isatty())}")
    ctx.exit(0 if all(report.passed for report in outcomes) else 1)


def _paths(variants: tuple[str, ...], folder: Path | None, tables: Tables) -> list[Path]:
    wanted = [tables.variant(name) for name in variants]
    paths = [golden_path(variant, folder) for variant in wanted]
    for name, path in zip(variants, paths, strict=True):
        if not path.exists():
            raise click.UsageError(f"There is no golden of {name}: {path} does not exist.")
    if not wanted:
        paths = [path for v in tables.variants.values() if (path := golden_path(v, folder)).exists()]
    if not paths:
        raise click.UsageError(f"There is no golden in {folder or golden_folder()}.")
    return paths


def _verified(paths: list[Path], tables: Tables) -> list[CheckReport]:
    from porter.checks.explanation import explained
    from porter.checks.goldens import verify_goldens
    from porter.checks.report import CheckReport

    with shown_phases("verifying goldens") as phase:
        phase(f"running {len(paths)} networks in PyTorch")
        found = verify_goldens(paths, tables)
        if not all(checked.report.passed for checked in found):
            phase("looking for causes")
        names = [checked.expected.provenance.variant or "" for checked in found]
        return [
            CheckReport(explained(checked, tables.variant(name)), checked.expected, checked.actual)
            for checked, name in zip(found, names, strict=True)
        ]


def _line(report: CheckReport) -> str:
    name = f"{report.expected.provenance.variant or ''}"
    worst = [f"{'x'.join(map(str, case.size))}: {case.worst:.1e}" for case in report.cases]
    return f"{name:<36}{report.verdict.value:<12}{'  '.join(worst)}"
