"""Options that more than one command takes, each defined once.

`table_option`: inspect, table, variants, golden, export-onnx, parity-check; the command receives the tables.
`table_file_option`: port-weights, which reads tables later; the command receives the path.
`json_option`: every command that prints.
`verbosity_options`, `SomePath`: port-weights, inspect.
`port_options`: every choice about a port, for commands that plan one; the command receives a `PortOptions`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from porter.tables.variants import Tables

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
        sign = 1 if param.name == "verbose" else -1
        ctx.params["verbosity"] = ctx.params.get("verbosity", 0) + sign * value
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
        "--variant", metavar="NAME", help="The network, where names and shapes alone do not decide."
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
        help="Batch normalisation epsilon of the training; no checkpoint stores it.  "
        "[default: see porter table]",
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
        help="Turn the first convolution of a network that takes BGR images round.  [default: as stored]",
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
        help="Leave the classifier behind: a known one, or the head of a model built around the network.",
    ),
    "input_size": click.option(
        "--input-size",
        type=click.IntRange(min=1),
        metavar="PIXELS",
        help="Height and width of images, for the metadata.  [default: the source's, or else the table's]",
    ),
}


def port_options(*left_out: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add an option for each attribute of `PortOptions`; the command receives the record as `options`.

    Args:
        *left_out: Attributes that the command has no option for, or one of its own.
    """
    names = [name for name in _PORT_OPTIONS if name not in left_out]

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_record(*args: Any, **given: Any) -> Any:
            from porter.planning.options import PortOptions

            chosen = {name: given.pop(name) for name in names}
            return command(*args, options=PortOptions(**chosen), **given)

        for name in reversed(names):
            with_record = _PORT_OPTIONS[name](with_record)
        return with_record

    return add
