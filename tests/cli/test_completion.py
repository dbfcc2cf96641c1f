"""The shell completes commands and options, as docs/commands.md says; and Ctrl-C has an exit code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SHELLS = ("bash", "zsh", "fish")
COMMANDS = {"porter": "porter", "port-weights": "port_weights", "parity-check": "parity_check"}


def run(command, **variables):
    """Run an installed command as its script does."""
    program = f"import sys, port_weights; sys.argv = [{command!r}]; port_weights.{COMMANDS[command]}()"
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
    )  # fmt: skip


def completed(command, words, shell="bash"):
    """Return what a shell is offered for the last of `words`."""
    variable = f"_{command.replace('-', '_').upper()}_COMPLETE"
    done = run(
        command,
        **{variable: f"{shell}_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)},
    )
    assert done.returncode == 0, done.stderr
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_the_page_names_every_shell_and_variable():
    """The lines on the page are those that are tried below."""
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")

    assert set(re.findall(r"_PORTER_COMPLETE=(\w+)_source porter", page)) == set(SHELLS)
    assert {"_PORT_WEIGHTS_COMPLETE", "_PARITY_CHECK_COMPLETE"} <= set(re.findall(r"\w+_COMPLETE", page))


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_for_a_shell_is_printed(shell):
    """What the start-up file evaluates mentions the command and the variable it is asked through."""
    done = run("porter", _PORTER_COMPLETE=f"{shell}_source")

    if shell == "bash" and done.returncode:
        pytest.skip(f"click needs a newer bash: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert f"_PORTER_COMPLETE={shell}_complete" in done.stdout


@pytest.mark.parametrize(
    ("command", "words", "offered"),
    [
        ("porter", ["porter", "par"], ["parity-check"]),
        ("porter", ["porter", "golden", "v"], ["verify"]),
        ("porter", ["porter", "port-weights", "--max"], ["--max-shard-size"]),
        ("port-weights", ["port-weights", "--dry"], ["--dry-run"]),
        ("parity-check", ["parity-check", "--jun"], ["--junit"]),
    ],
)
def test_what_a_word_can_become_is_offered(command, words, offered):
    """Subcommands, their subcommands, and options of each installed command."""
    assert completed(command, words) == offered
