"""What holds for every command, and what each of the small ones prints."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from porter.cli.main import main
from porter.tables.shipped import load_tables

COMMANDS = ["port-weights", "parity-check", "classify", "inspect", "variants", "table", "golden"]
README = Path(__file__).parent.parent.parent / "README.md"


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


def test_group_lists_every_command():
    """The help of ``porter`` is a table of contents, each line a whole sentence."""
    result = run("--help")

    assert result.exit_code == 0
    assert "..." not in result.output.partition("Commands:")[2]
    assert all(name in result.output for name in COMMANDS)


@pytest.mark.parametrize(("path", "command"), LEAVES)
def test_every_command_has_help_with_an_example(path, command):
    """A person sees a sentence, an example, and a word on every option."""
    result = run(*path, "--help")

    assert result.exit_code == 0
    assert re.search(r"\n  Examples?:\n    \S", result.output), "the example stands on lines of its own"
    assert all(p.help for p in command.params if isinstance(p, click.Option) and not p.hidden)


@pytest.mark.parametrize(("path", "command"), LEAVES)
def test_every_command_is_in_the_readme(path, command):
    """No command exists that the README does not show."""
    assert " ".join(path) in README.read_text()


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


def test_output_file_without_its_suffix_is_told_apart(tmp_path):
    """Timm tells the format by the name, so a file that it would misread is not written; a folder is free."""
    refused = run("port-weights", tmp_path / "nothing", tmp_path / "model.pth")
    folder = run("port-weights", tmp_path / "nothing", tmp_path / "model", "--max-shard-size", "1MB")

    assert "must end in .safetensors" in refused.stderr
    assert "checkpoint/not-found" in folder.stderr


def test_variants_lists_both_sides():
    """A row says which TensorFlow network becomes which PyTorch one."""
    lines = run("variants").output.splitlines()
    assert any("MobileNetV4HybridMedium" in line for line in lines)
    assert max(map(len, lines)) <= 180
    slim = next(line for line in lines if line.startswith("slim_mobilenetv1_100"))
    note = load_tables().variants["slim_mobilenetv1_100"].note
    assert f"[{slim[-2]}] {note}" in lines
    listed = json.loads(run("variants", "--json").output)
    assert "mobilenetv4_hybrid_medium" in {row["variant"] for row in listed}


def test_table_prints_one_line_per_tensor_in_three_formats():
    """Text, CSV and JSON hold the same entries."""
    text = run("table", "conv_small").output
    rows = list(csv.DictReader(io.StringIO(run("table", "conv_small", "--format", "csv").output)))
    document = json.loads(run("table", "conv_small", "--format", "json").output)

    assert len(rows) == len(document["entries"]) == 232
    assert "layer_with_weights-0/layer_with_weights-0/_conv0/kernel" in text
    assert rows[0]["source shape"] == "3x3xchannelsx32"
    assert rows[0]["layout"] == "h w i o -> o i h w"
    assert rows[0]["target"] == "conv_stem.weight"


def test_table_of_ones_own_replaces_the_shipped_ones(tmp_path):
    """``--table FILE`` is all that a command knows then."""
    shipped = Path(__file__).parent.parent.parent / "mappings/model_garden/mobilenet_v4.toml"
    own = tmp_path / "own.toml"
    own.write_text(re.sub(r"\[variant\.[a-z0-9]+_", "[variant.mine_", shipped.read_text()))

    document = json.loads(run("variants", "--table", own, "--json").stdout)

    assert {entry["variant"].partition("_")[0] for entry in document} == {"mine"}
    assert {entry["status"] for entry in document} == {"not measured"}


def test_broken_table_is_named(tmp_path):
    """A person who writes a table sees file and reason."""
    file = tmp_path / "broken.toml"
    file.write_text("schema = ")

    result = run("variants", "--table", file)

    assert result.exit_code == 1
    assert "broken.toml: not valid TOML" in result.stderr


def test_dry_run_needs_no_output(tmp_path):
    """``--dry-run`` may stand without OUT; everything else needs one."""
    np.save(tmp_path / "x.npy", np.zeros(1))

    result = run("port-weights", tmp_path / "x.npy", "--dry-run")

    assert result.exit_code == 1


@pytest.mark.skipif("PORTER_REAL_CHECKPOINTS" not in os.environ, reason="PORTER_REAL_CHECKPOINTS is not set")
def test_network_of_porters_own_is_loaded_by_porter(tmp_path):
    """Where plain timm has no such network, the printed line does not send the person there."""
    folder = Path(os.environ["PORTER_REAL_CHECKPOINTS"]) / "keras-mnv1-025-128-imagenet"
    source = next(folder.rglob("*.h5"))

    lines = run("port-weights", source, tmp_path / "out.safetensors").stdout.splitlines()

    assert lines[-1] == f"porter.load_model({str(tmp_path / 'out.safetensors')!r})"


def run_installed(*arguments, stdout):
    """Call ``port-weights`` as a process of its own, with Python's usual buffering of what is printed."""
    program = "from porter.cli.main import port_weights_main; port_weights_main()"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, env=environment
    )


def test_port_weights_ends_with_everything_printed(tmp_path):
    """The process ends at once, but not before what it printed was delivered; the exit code is kept."""
    helped = run_installed("--help", stdout=subprocess.PIPE)
    np.save(tmp_path / "x.npy", np.zeros(1))
    refused = run_installed(tmp_path / "x.npy", "out.safetensors", stdout=subprocess.PIPE)
    misused = run_installed(stdout=subprocess.PIPE)

    assert (helped.returncode, refused.returncode, misused.returncode) == (0, 1, 2)
    assert helped.stdout.rstrip().endswith("Show this message and exit.")
    assert "checkpoint/numpy" in refused.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_under_stdout_is_one_line():
    """Where the report cannot be written, the command fails and says why, without a traceback."""
    with Path("/dev/full").open("w") as full:
        result = run_installed("--help", stdout=full)

    assert result.returncode != 0
    assert "No space left on device" in result.stderr
    assert "Traceback" not in result.stderr
