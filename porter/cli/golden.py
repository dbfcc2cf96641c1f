"""`porter golden`: record goldens with TensorFlow, verify them without."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from porter.cli.command import Command
from porter.cli.phases import shown_phases
from porter.cli.shared_options import json_option, port_options, source_option, table_option, trust_option
from porter.parity.golden_files import golden_folder, golden_path

if TYPE_CHECKING:
    from porter.checks.report import CheckReport
    from porter.tables.known_tables import Tables

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
@click.argument("variants", nargs=-1, metavar="[VARIANT...]")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="Record what TensorFlow says of these weights, in place of random ones; goes with --out.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --checkpoint: the golden to write.",
)
@click.option(
    "--image",
    "images",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="With --checkpoint: keep what TensorFlow says of this image too; may be repeated.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of weights, input and samples.")
@click.option(
    "--folder",
    type=_FOLDER,
    help="Where to write the goldens of VARIANT; made if it is not there.  [default: golden]",
)
@port_options()
@table_option
@source_option
@trust_option
@click.pass_context
def record(
    ctx: click.Context,
    /,
    variants: tuple[str, ...],
    seed: int,
    folder: Path | None,
    tables: Tables,
    source: str | None,
    trust_table: bool,
    **own: Any,
) -> None:
    """Run networks in TensorFlow and write goldens: of VARIANT on random weights, or of a checkpoint.

    The golden of VARIANT holds no weights, for they follow from the seed; it has at most 300 KB.
    That of --checkpoint, at most 400 KB, holds digests of the source and of its port. What port-weights
    is told about the port is told here too. TensorFlow runs the network in the file, if it has one.

    \b
    Example:
      porter golden record conv_small hybrid_medium
      porter golden record --checkpoint training/ckpt-100 --out golden.safetensors --image dog.jpg
      parity-check --ported model.safetensors --against golden.safetensors
    """
    if own["checkpoint"] is not None:
        if variants or folder is not None:
            raise click.UsageError("--checkpoint goes with --out, and --variant names its network.")
        if own["out"] is None:
            raise click.UsageError("--checkpoint needs --out, the golden to write.")
        _record_own(own, seed=seed, tables=tables, source=source, trust_table=trust_table)
        return
    given = [o for o in ctx.command.params if o.name not in _OF_VARIANTS and _is_given(ctx, o)]
    if given:
        raise click.UsageError(f"{given[0].opts[0]} goes with --checkpoint.")
    if not variants:
        raise click.UsageError("Missing argument 'VARIANT...' (or '--checkpoint' and '--out').")
    code = {"source": source, "trust_table": trust_table}
    _record_variants(variants, folder or Path("golden"), seed, tables, code)


_OF_VARIANTS = ("variants", "seed", "folder", "tables", "source", "trust_table")


def _is_given(ctx: click.Context, option: click.Parameter) -> bool:
    return ctx.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE


def _record_own(own: dict[str, Any], **more: Any) -> None:
    from porter.checks.own_goldens import record_golden

    out = own["out"]
    with shown_phases(f"recording {own['checkpoint'].name}") as phase:
        report = record_golden(
            own["checkpoint"],
            out,
            images=own["images"],
            options=own["options"],
            phase=phase,
            **more,
        )
    click.echo(f"{out}  {out.stat().st_size / 1000:.0f} KB, port in parity to {report.worst:.1e}")
    click.echo(f"TensorFlow ran {report.expected.provenance.source}")
    for note in report.expected.provenance.notes:
        click.echo(f"note: {note}")


def _record_variants(
    variants: tuple[str, ...], folder: Path, seed: int, tables: Tables, code: dict[str, Any]
) -> None:
    from porter.checks.goldens import record_goldens

    wanted = [tables.variant(name) for name in variants]
    with shown_phases("recording goldens") as phase:
        phase(f"running {len(wanted)} networks in TensorFlow")
        written = record_goldens(wanted, folder, seed=seed, **code)
    for path in written:
        click.echo(f"{path}  {path.stat().st_size / 1000:.0f} KB")


@golden.command("verify", cls=Command)
@click.argument("variants", nargs=-1, metavar="[VARIANT...]")
@click.option(
    "--folder", type=_FOLDER, help="Where the goldens are kept.  [default: those that come with porter]"
)
@table_option
@trust_option
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    variants: tuple[str, ...],
    folder: Path | None,
    tables: Tables,
    trust_table: bool,
    as_json: bool,
) -> None:
    """Check the ports of VARIANT, or of every golden there is, with torch and without TensorFlow.

    Exit code 0 means that all are in parity; 1 that one is not, or is stale because its table changed.

    \b
    Example:
      porter golden verify
      porter golden verify conv_small --folder golden --json
    """
    paths = _paths(variants, folder, tables)
    outcomes = _verified(paths, tables, trust_table=trust_table)
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


def _verified(paths: list[Path], tables: Tables, *, trust_table: bool) -> list[CheckReport]:
    from porter.checks.explanation import explained
    from porter.checks.goldens import verify_goldens
    from porter.checks.report import CheckReport

    with shown_phases("verifying goldens") as phase:
        phase(f"running {len(paths)} networks in PyTorch")
        found = verify_goldens(paths, tables, trust_table=trust_table)
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
