"""What every command shares: lazy loading, and the one place where a refusal becomes an exit code."""

from __future__ import annotations

import errno
import importlib
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from porter.errors import PorterError

# Codes of names that nothing has.
_WRONG_NAMES = frozenset(
    {
        "checkpoint/not-found",
        "data/not-found",
        "output/no-folder",
        "plan/pictures",
        "plan/unknown-choice",
        "table/ambiguous-variant",
        "table/unknown-variant",
    }
)


class _WrongName(click.ClickException):
    exit_code = 2


def _is_usage(error: PorterError) -> bool:
    """Whether the command line itself is wrong: it names what does not exist."""
    if error.code in _WRONG_NAMES:
        return True
    unreadable = error.code.endswith("/unreadable") and error.file is not None
    return unreadable and not Path(error.file or "").exists()


@contextmanager
def _edge() -> Iterator[None]:
    try:
        yield
    except PorterError as error:
        first, *details = str(error).splitlines()
        kind = _WrongName if _is_usage(error) else click.ClickException
        raise kind("\n".join([f"{first} [{error.code}]", *details])) from None
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader has seen enough: click ends quietly
            raise
        raise click.ClickException(str(error)) from None


class Command(click.Command):
    """A command whose `PorterError`s, and a full disk under stdout, become one line and exit code 1.

    A name that nothing has, and a path where nothing is, are wrong usage: exit code 2.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; an option may read a file."""
        with _edge():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        # File names and variables may be bytes that are no text; what is printed of them is escaped.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        with _edge():
            return super().invoke(ctx)


class LazyGroup(click.Group):
    """A group that imports a command's module when it is called, so that each starts fast.

    Args:
        lazy: Command name to ``"module:attribute"``.
        **options: As for `click.Group`.
    """

    def __init__(self, *, lazy: dict[str, str], **options: Any) -> None:
        super().__init__(**options)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command in the order in which a person meets them."""
        return [*self._lazy, *super().list_commands(ctx)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write every command with its whole first sentence; click would cut it to one line."""
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        with formatter.section("Commands"):
            formatter.write_dl([(name, c.get_short_help_str(limit=200)) for name, c in commands if c])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command."""
        if cmd_name not in self._lazy:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._lazy[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command
