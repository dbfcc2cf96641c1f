"""The commands as a person calls them, in this process, and a list of all of them."""

from __future__ import annotations

import click
from click.testing import CliRunner

from porter.cli.main import main


def run(*arguments):
    """Call ``porter`` in this process."""
    return CliRunner().invoke(main, [str(a) for a in arguments])


def leaves(command, path):
    """Yield (path, command) for a command or every command of a group."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from leaves(command.get_command(context, name), (*path, name))
    else:
        yield path, command


LEAVES = list(leaves(main, ()))
