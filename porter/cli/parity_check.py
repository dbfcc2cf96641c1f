"""`parity-check`: prove that the ported network computes what the TensorFlow network computes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import click

from porter.checkpoints import open_checkpoint
from porter.checks.check import DTYPES, Check, Checked, Size, check_against_tensorflow
from porter.checks.goldens import verify_goldens
from porter.cli.command import Command
from porter.cli.options import json_option, table_option
from porter.cli.outcome import explained, write_reports
from porter.parity.golden_files import golden_path
from porter.planning.options import PortOptions
from porter.planning.recognition import recognise
from porter.report.text import text
from porter.runners.process import missing_packages, require
from porter.tables.variants import Tables, Variant
from porter.transfer.atomic_file import require_writable

# A golden holds one input, the weights' seed and TensorFlow's float64 answer.
_BEYOND_A_GOLDEN = (
    "checkpoint",
    "dtypes",
    "sizes",
    "batch",
    "seed",
    "weights",
    "bn_eps",
    "images",
    "backbone_only",
)


def _sizes(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[Size, ...]:
    """Turn ``224`` and ``192x256`` (height first) into (height, width)."""
    sizes = []
    for value in values:
        parts = value.split("x")
        if len(parts) > 2 or not all(part.isascii() and part.isdigit() and int(part) for part in parts):
            raise click.BadParameter(f"{value!r} is neither a number of pixels nor HEIGHTxWIDTH")
        sizes.append((int(parts[0]), int(parts[-1])))
    return tuple(sizes)


@click.command("parity-check", cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--variant", "name", metavar="NAME", help="The network; a short name where it is unique.")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="Check these weights: TensorFlow restores them itself, PyTorch gets them ported.  "
    "[default: random weights]",
)
@click.option(
    "--against",
    type=click.Choice(["tensorflow", "golden", "onnx"]),
    help="The reference; onnx checks the export against PyTorch, with TensorFlow as a third witness.  "
    "[default: tensorflow; golden where TensorFlow is not installed]",
)
@click.option(
    "--dtype",
    "dtypes",
    type=click.Choice(DTYPES),
    multiple=True,
    help="Element type to compute in; may be repeated. float64 decides and is always run.  [default: both]",
)
@click.option(
    "--size",
    "sizes",
    callback=_sizes,
    multiple=True,
    metavar="N|HxW",
    help="Input size in pixels; may be repeated.  [default: the table's: even, odd and mixed]",
)
@click.option(
    "--image",
    "images",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Use real images as the input; may be repeated. Preparation and best classes are shown apart.",
)
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Images per input.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of inputs and random weights.")
@click.option(
    "--weights",
    type=click.Choice(["auto", "raw", "ema"]),
    default="auto",
    show_default=True,
    help="Which weights of the checkpoint, as for port-weights.",
)
@click.option(
    "--bn-eps",
    type=click.FloatRange(min=0, min_open=True),
    metavar="FLOAT",
    help="Batch normalisation epsilon on both sides.  [default: the table's]",
)
@click.option(
    "--backbone-only",
    is_flag=True,
    help="Compare the network without its classifier, or without a head of somebody's own.",
)
@click.option(
    "--junit",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.xml",
    help="Also write JUnit XML: a test case per stage.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.html",
    help="Also write one self-contained page with plots.",
)
@table_option
@json_option
@click.pass_context
def parity_check(
    ctx: click.Context,
    name: str | None,
    checkpoint: Path | None,
    against: str | None,
    dtypes: tuple[str, ...],
    sizes: tuple[Size, ...],
    images: tuple[Path, ...],
    batch: int,
    seed: int,
    weights: Literal["auto", "raw", "ema"],
    bn_eps: float | None,
    backbone_only: bool,
    junit: Path | None,
    html: Path | None,
    tables: Tables,
    as_json: bool,
) -> None:
    """Run the network in TensorFlow and its port in PyTorch, and compare them stage by stage.

    Each stage is compared twice: on each network's own activations, and with the PyTorch stage fed
    TensorFlow's input of that stage, which names the guilty one. Exit code 0 means parity, 1 that there is
    none or that the check could not be made, 2 wrong usage.

    \b
    Example:
      parity-check --variant hybrid_medium
      parity-check --checkpoint training/ckpt-100 --size 224 --size 225
      parity-check --variant conv_small --against golden --json
    """
    _require_reports(junit, html)
    variant = _variant(tables, name, checkpoint)
    check = Check(
        variant,
        sizes=sizes,
        dtypes=tuple(dict.fromkeys(("float64", *(dtypes or DTYPES)))),
        batch=batch,
        seed=seed,
        checkpoint=checkpoint,
        options=PortOptions(weights=weights, bn_eps=bn_eps, backbone_only=backbone_only),
        images=images,
    )
    beyond = [
        option.opts[0]
        for option in ctx.command.params
        if option.name in _BEYOND_A_GOLDEN
        and ctx.get_parameter_source(option.name) is click.core.ParameterSource.COMMANDLINE
    ]
    with _working(f"checking {variant.name}"):
        report = explained(_checked(check, tables, beyond, against), tables, check)
    click.echo(
        json.dumps(report.to_json(), indent=2) if as_json else text(report, colour=sys.stdout.isatty())
    )
    # Last: a report that cannot be written does not take the result with it.
    write_reports(report, junit, html)
    ctx.exit(0 if report.passed else 1)


def _require_reports(junit: Path | None, html: Path | None) -> None:
    """Refuse reports that could not be written, or would replace something else, before the work is done."""
    for option, path, suffix in (("--junit", junit, ".xml"), ("--html", html, ".html")):
        if path is None:
            continue
        if path.suffix != suffix:
            raise click.UsageError(f"The file of {option} must end in {suffix}.")
        require_writable(path)


def _variant(tables: Tables, name: str | None, checkpoint: Path | None) -> Variant:
    if name is not None:
        return tables.variant(name)
    if checkpoint is None:
        raise click.UsageError(
            "Missing option '--variant' (or '--checkpoint', which says what network it is)."
        )
    with open_checkpoint(checkpoint) as opened:
        return recognise(opened, tables).variant


def _checked(check: Check, tables: Tables, beyond: list[str], against: str | None) -> Checked:
    if against == "onnx":
        from porter.checks.onnx_check import check_against_onnx

        return check_against_onnx(check)
    return _golden(check, tables, beyond, against) or check_against_tensorflow(check)


def _golden(check: Check, tables: Tables, beyond: list[str], against: str | None) -> Checked | None:
    """Check against the golden where that was asked for, or where nothing else is possible."""
    missing = missing_packages("tensorflow")
    if against == "tensorflow" or (against is None and not missing):
        return None
    if against == "golden" and beyond:
        raise click.UsageError(f"A golden holds one input and its weights; {beyond[0]} needs TensorFlow.")
    path = golden_path(check.variant)
    if against is None and (beyond or not path.exists()):
        require("tensorflow")
    checked = verify_goldens([path], tables)[0]
    if against is None:
        note = f"compared with the golden, because {', '.join(missing)} is not installed"
        report = replace(checked.report, notes=(note, *checked.report.notes))
        return replace(checked, report=report)
    return checked


@contextmanager
def _working(what: str) -> Iterator[None]:
    """Show on a terminal that something is going on."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
