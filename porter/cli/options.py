"""Options that more than one command takes, each defined once.

`table_option`: inspect, table, variants, golden, export-onnx, parity-check; the command receives the tables.
`table_file_option`: port-weights, which reads tables later; the command receives the path.
`json_option`: every command that prints.
`verbosity_options`, `SomePath`: port-weights, inspect.
"""

from __future__ import annotations

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
