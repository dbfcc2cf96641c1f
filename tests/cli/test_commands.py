"""What holds for every command."""

from __future__ import annotations

import re
from pathlib import Path

import click
import numpy as np
import pytest
from cli.command_line import LEAVES, run

from porter.cli.main import main

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PAGES = "".join(page.read_text() for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))))


def test_group_lists_every_command():
    """The help of ``porter`` is a table of contents, each line a whole sentence."""
    result = run("--help")

    assert result.exit_code == 0
    assert "..." not in result.output.partition("Commands:")[2]
    assert all(name in result.output for name in main.list_commands(click.Context(main)))


@pytest.mark.parametrize(("path", "command"), LEAVES)
def test_every_command_has_help_with_an_example(path, command):
    """A person sees a sentence, an example, and a word on every option."""
    result = run(*path, "--help")

    assert result.exit_code == 0
    assert re.search(r"\n  Examples?:\n    \S", result.output), "the example stands on lines of its own"
    assert all(p.help for p in command.params if isinstance(p, click.Option) and not p.hidden)


@pytest.mark.parametrize("name", main.list_commands(click.Context(main)))
def test_every_command_has_a_test_file_of_its_own(name):
    """What a command prints is held in the file called after it, which calls it."""
    file = HERE / f"test_{name.replace('-', '_')}.py"

    assert file.exists()
    assert re.search(rf"^def test_.*?{name.replace('-', '.')}", file.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("path", "command"), LEAVES)
def test_every_command_and_option_is_documented(path, command):
    """No command and no option exists that the README or a page in docs/ does not show."""
    options = {max(p.opts, key=len) for p in command.params if isinstance(p, click.Option) and not p.hidden}

    assert " ".join(path) in PAGES
    assert {option for option in options if not re.search(rf"{option}(?![a-z-])", PAGES)} == set()


def test_refusal_is_one_line_with_exit_code_one(tmp_path):
    """No traceback, nothing on stdout, the reason and its code on stderr."""
    np.save(tmp_path / "x.npy", np.zeros(1))

    result = run("inspect", tmp_path / "x.npy")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert result.stderr.rstrip().endswith("]")


@pytest.mark.parametrize(
    "arguments",
    [
        ["port-weights"],
        ["port-weights", "a"],
        ["port-weights", "a", "b.safetensors", "--weights", "best"],
        ["port-weights", "a", "b.safetensors", "--bn-eps", "0"],
        ["port-weights", "a", "b.safetensors", "--dtype", "float8"],
        ["port-weights", "a", "b.pth"],
        ["inspect"],
        ["table"],
        ["no-such-command"],
    ],
)
def test_usage_errors_exit_with_two(arguments):
    """A command line that makes no sense is told apart from a source that does not."""
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["port-weights", "", "b.safetensors"],
        ["port-weights", "a", ""],
        ["inspect", ""],
        ["variants", "--json", "--markdown"],
        ["table", "conv_small", "--against", "ckpt"],
        ["table", "conv_small", "--check", "a.toml"],
        ["golden", "verify", "conv_small", "--folder", "nowhere"],
        ["parity-check", "--variant", "conv_small", "--junit", "ckpt.h5"],
        ["parity-check", "--variant", "conv_small", "--html", "same.xml"],
    ],
)
def test_nothing_that_was_asked_for_is_left_out_silently(arguments):
    """An empty name, an option without its partner and a file that would be lost are wrong usage."""
    assert run(*arguments).exit_code == 2
