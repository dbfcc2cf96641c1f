"""`parity-check`: prove that the ported network computes what the TensorFlow network computes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from porter.cli.check_many import check_many
from porter.cli.command import Command
from porter.cli.phases import shown_phases
from porter.cli.shared_options import (
    json_option,
    port_options,
    source_option,
    table_option,
    trust_option,
)
from porter.errors import ParityError
from porter.outputs.forms import TARGETS
from porter.transfer.atomic_file import require_writable, write_whole

if TYPE_CHECKING:
    from porter.checks.report import CheckReport

_DTYPES = ("float64", "float32")
_REFERENCES = ("tensorflow", "golden", "onnx")


def _sizes(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Turn ``224`` and ``192x256`` (height first) into (height, width)."""
    sizes = []
    for value in values:
        parts = value.split("x")
        if len(parts) > 2 or not all(part.isascii() and part.isdigit() and int(part) for part in parts):
            raise click.BadParameter(f"{value!r} is neither a number of pixels nor HEIGHTxWIDTH")
        sizes.append((int(parts[0]), int(parts[-1])))
    return tuple(sizes)


class _Reference(click.ParamType):  # type: ignore[type-arg]  # click 8.1 has no parameter there
    """One of the references, or a file."""

    name = "reference"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the word, or the path of a file that is there."""
        if value in _REFERENCES:
            return value
        if not Path(value).is_file():
            self.fail(f"{value!r} is neither a file nor one of {', '.join(_REFERENCES)}.", param, ctx)
        return Path(value)


@click.command("parity-check", cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--variant", "name", metavar="NAME", help="The network; a short name if it is unique.")
@click.option(
    "--checkpoint",
    "checkpoints",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Check these weights: TensorFlow restores them itself, PyTorch gets them ported. May be repeated: "
    "one process per framework checks them all, a line each.  "
    "[default: random weights]",
)
@click.option(
    "--ported",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Check FILE as it is on disk, against --checkpoint: a ported file or folder, or a .pth.  "
    "[default: a fresh port]",
)
@click.option(
    "--target",
    type=click.Choice(TARGETS),
    default="timm",
    show_default=True,
    help="With --ported: the library under whose names FILE was written, as for port-weights.",
)
@click.option(
    "--against",
    type=_Reference(),
    metavar="[tensorflow|golden|onnx|FILE]",
    help="The reference; onnx checks the export against PyTorch, with TensorFlow as a third witness. FILE is "
    "what porter golden record --checkpoint wrote, to check --ported without TensorFlow or the checkpoint.  "
    "[default: tensorflow; golden if TensorFlow is not installed]",
)
@click.option(
    "--dtype",
    "dtypes",
    type=click.Choice(_DTYPES),
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
    "--labels",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Names of the classes, one a line, to show with images.  [default: ImageNet's, if the number fits]",
)
@port_options("variant", "dtype")
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
@source_option
@trust_option
@json_option
@click.pass_context
def parity_check(
    ctx: click.Context,
    /,
    name: str | None,
    against: Any,
    junit: Path | None,
    html: Path | None,
    as_json: bool,
    checkpoints: tuple[Path, ...],
    **asked: Any,
) -> None:
    """Run the network in TensorFlow and its port in PyTorch, and compare them stage by stage.

    Each stage is compared twice: on each network's own activations, and with the PyTorch stage fed
    TensorFlow's input of that stage, which names the guilty one. What port-weights is told about
    the port (--weights, --classes and so on) may be told here too, and that port is checked. Exit code 0
    means parity, 1 that there is none or that the check could not be made, 2 wrong usage.

    \b
    Example:
      parity-check --variant hybrid_medium
      parity-check --checkpoint training/ckpt-100 --size 224 --size 225
      parity-check --checkpoint a.h5 --checkpoint b.h5 --json
      parity-check --checkpoint training/ckpt-100 --weights raw --classes drop-background
      parity-check --checkpoint training/ckpt-100 --ported model.safetensors
      parity-check --variant conv_small --against golden --json
      parity-check --ported model.safetensors --against golden.safetensors
    """
    if len(checkpoints) > 1:
        _require_one(against, asked)
        _require_reports(junit, html)
        check_many(checkpoints, name, asked, as_json=as_json, junit=junit, html=html)
        return
    asked["checkpoint"] = checkpoints[0] if checkpoints else None
    _require_reports(junit, html)
    _require_usage(name, against, asked)
    report = _checked(name, against, asked)
    click.echo(report.json() if as_json else report.text(colour=sys.stdout.isatty()))
    # Last: a report that cannot be written does not take the result with it.
    for path, written in ((junit, report.junit), (html, report.html)):
        if path is not None:
            write_whole(path, written())
    ctx.exit(0 if report.passed else 1)


def _require_one(against: Any, asked: dict[str, Any]) -> None:
    """Refuse what is about one checkpoint where there are more."""
    if asked["ported"] is not None:
        raise click.UsageError("--ported goes with one --checkpoint.")
    if against not in (None, "tensorflow"):
        raise click.UsageError("--against goes with one --checkpoint: many are checked against TensorFlow.")
    if asked.pop("target") != "timm":
        raise click.UsageError("--target says under whose names the file of --ported was written.")
    del asked["ported"]


def _require_usage(name: str | None, against: Any, asked: dict[str, Any]) -> None:
    """Refuse options that do not go together."""
    if isinstance(against, Path):
        if asked["ported"] is None:
            raise click.UsageError("--against FILE needs --ported, the file that is held against it.")
        if name is not None:
            raise click.UsageError("--against FILE says itself what network it is of: leave --variant out.")
    elif asked["checkpoint"] is None and asked["ported"] is not None:
        raise click.UsageError(
            "--ported needs --checkpoint, the source that the file was ported from, or --against FILE, a "
            "golden that was recorded of it."
        )
    elif asked["checkpoint"] is None and name is None:
        raise click.UsageError(
            "Missing option '--variant' (or '--checkpoint', which says what network it is)."
        )
    if asked["target"] != "timm" and asked["ported"] is None:
        raise click.UsageError("--target says under whose names the file of --ported was written.")


def _checked(name: str | None, against: Any, asked: dict[str, Any]) -> CheckReport:
    from porter.checks.checking import check

    dtypes = asked.pop("dtypes") or _DTYPES
    what = f"checking {name or (asked['checkpoint'] or asked['ported']).name}"
    try:
        with shown_phases(what) as phase:
            return check(name, against=against, dtypes=dtypes, phase=phase, **asked)
    except ParityError as error:
        if error.code != "check/beyond-golden":
            raise
        raise click.UsageError(
            f"A golden holds one input and its weights; {_option(str(error.found))} needs TensorFlow."
        ) from None


def _option(argument: str) -> str:
    """Return what the argument of a library call is called here."""
    names = {option.name: option.opts[0] for option in parity_check.params}
    return names.get(argument, argument)


def _require_reports(junit: Path | None, html: Path | None) -> None:
    """Refuse reports that could not be written, or would replace something else, before the work is done."""
    for option, path, suffix in (("--junit", junit, ".xml"), ("--html", html, ".html")):
        if path is None:
            continue
        if path.suffix != suffix:
            raise click.UsageError(f"The file of {option} must end in {suffix}.")
        require_writable(path)
