"""Options that more than one command takes, each defined once.

`table_option`: inspect, table, variants, golden, export-onnx, parity-check; the command receives the tables.
`table_file_option`: port-weights, which reads tables later; the command receives the path.
`trust_option`: every command that builds the PyTorch network; `source_option`: those that run TensorFlow.
`json_option`: every command that prints.
`verbosity_options`, `SomePath`: port-weights, inspect.
`output_options`: the form of a port; the command receives an `OutputOptions`.
`port_options`: every choice about a port, for commands that plan one; the command receives a `PortOptions`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from porter.cli.byte_size_option import ByteSize
from porter.outputs.forms import TARGETS

if TYPE_CHECKING:
    from porter.outputs.output_options import OutputOptions
    from porter.planning.port_options import PortOptions
    from porter.tables.known_tables import Tables

F = TypeVar("F", bound=Callable[..., Any])


def _load(_: click.Context, __: click.Parameter, value: Path | None) -> Tables:
    from porter.tables.shipped import load_tables

    return load_tables(value) if value else load_tables()


_TABLE_HELP = "Use the mapping table in FILE (TOML; data, never code) instead of those that come with porter."
_TABLE_PATH = click.Path(path_type=Path)

table_option = click.option(
    "--table", "tables", metavar="FILE", type=_TABLE_PATH, callback=_load, help=_TABLE_HELP
)

table_file_option = click.option("--table", metavar="FILE", type=_TABLE_PATH, help=_TABLE_HELP)

trust_option = click.option(
    "--trust-table",
    is_flag=True,
    help="Run the code that the table, or the ported file, names: a builder package.module:function.",
)

source_option = click.option(
    "--source",
    metavar="MODULE:FUNCTION",
    help="Your function package.module:function, which returns the Keras model or tf.Module that TensorFlow "
    "runs.  [default: the network in the file, or the table's]",
)

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on stdout and nothing else."
)


class SomePath(click.Path):
    """A path that is not empty, as a shell's unset variable is: that would stand for the current folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        if value == "":
            self.fail("the name is empty.", param, ctx)
        return super().convert(value, param, ctx)


def verbosity_options(command: F) -> F:
    """Add -v and -q; the command receives `verbosity`: -1, 0 or 1."""

    def combine(ctx: click.Context, param: click.Parameter, value: bool) -> bool:
        before = ctx.params.setdefault("verbosity", 0)
        if value and before:
            raise click.UsageError("-v and -q exclude each other.")
        if value:
            ctx.params["verbosity"] = 1 if param.name == "verbose" else -1
        return value

    for flag, name, text in (
        ("-v", "verbose", "Say what became of every variable."),
        ("-q", "quiet", "Say only what went wrong."),
    ):
        command = click.option(
            flag, f"--{name}", name, is_flag=True, expose_value=False, callback=combine, help=text
        )(command)
    return command


_PORT_OPTIONS: dict[str, Callable[[F], F]] = {
    "variant": click.option(
        "--variant", metavar="NAME", help="The network, if names and shapes alone do not decide."
    ),
    "weights": click.option(
        "--weights",
        type=click.Choice(["auto", "raw", "ema"]),
        default="auto",
        show_default=True,
        help="Moving averages: auto reads them wherever there are any, ema insists on them, "
        "raw ignores them.",
    ),
    "bn_eps": click.option(
        "--bn-eps",
        type=click.FloatRange(min=0, min_open=True),
        metavar="FLOAT",
        help="Batch normalisation epsilon of the training.  "
        "[default: what the source says, or else the table]",
    ),
    "dtype": click.option(
        "--dtype",
        type=click.Choice(["float32", "float16", "bfloat16"]),
        help="Convert floating-point tensors.  [default: as stored]",
    ),
    "classes": click.option(
        "--classes",
        type=click.Choice(["all", "drop-background"]),
        default="all",
        show_default=True,
        help="Of 1001 classes the first is background: keep it, or leave it out.",
    ),
    "channel_order": click.option(
        "--channel-order",
        type=click.Choice(["rgb"]),
        help="Flip the input channels of the first convolution of a network that takes BGR images.  "
        "[default: as stored]",
    ),
    "preset": click.option(
        "--preset",
        "--pictures",
        "preset",
        metavar="NAME",
        help="Named preprocessing of weights that no checkpoint describes: advprop (mean and std 0.5).",
    ),
    "backbone_only": click.option(
        "--backbone-only",
        is_flag=True,
        help="Leave the classifier out: a known one, or the custom head of a model built around the network.",
    ),
    "draft": click.option(
        "--draft",
        is_flag=True,
        help="Port with a table that says itself that it is a draft, not proved.",
    ),
    "input_size": click.option(
        "--input-size",
        type=click.IntRange(min=1),
        metavar="PIXELS",
        help="Height and width of images, for the metadata.  [default: the source's, or else the table's]",
    ),
}


_OUTPUT_OPTIONS: dict[str, Callable[[F], F]] = {
    "target": click.option(
        "--target",
        type=click.Choice(TARGETS),
        default="timm",
        show_default=True,
        help="What to write for: transformers gives a folder for from_pretrained, netspresso a file, "
        "hub-folder what --hub-folder gives.",
    ),
    "max_shard_size": click.option(
        "--max-shard-size",
        type=ByteSize(),
        help="Write OUT as a folder of files with at most this much of tensors each (5GB, 200MB), and an "
        "index. A longer tensor has a file of its own.",
    ),
    "fold_bn": click.option(
        "--fold-bn",
        is_flag=True,
        help="Fold batch norms and layer scales into the convolutions before them; needs torch and timm.",
    ),
}


def port_options(*left_out: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add an option for each attribute of `PortOptions`; the command receives the record as `options`.

    Args:
        *left_out: Attributes that the command has no option for, or one of its own.
    """

    def record(**chosen: Any) -> PortOptions:
        from porter.planning.port_options import PortOptions

        return PortOptions(**chosen)

    added = {name: option for name, option in _PORT_OPTIONS.items() if name not in left_out}
    return lambda command: _with_record(command, "options", added, record)


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each attribute of `OutputOptions`; the command receives the record as `form`."""

    def record(**chosen: Any) -> OutputOptions:
        from porter.outputs.output_options import OutputOptions

        return OutputOptions(**chosen)

    return _with_record(command, "form", _OUTPUT_OPTIONS, record)


def _with_record(
    command: Callable[..., Any],
    argument: str,
    added: Mapping[str, Callable[..., Any]],
    record: Callable[..., Any],
) -> Callable[..., Any]:
    """Add options to a command that receives them together, as one argument."""

    @functools.wraps(command)
    def gathering(*args: Any, **given: Any) -> Any:
        chosen = {name: given.pop(name) for name in added}
        return command(*args, **{argument: record(**chosen)}, **given)

    for option in reversed(list(added.values())):
        gathering = option(gathering)
    return gathering
