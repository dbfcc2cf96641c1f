"""Every command on an installation that lacks packages: help works, and what is missing is named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from checkpoints.bundle_writer import Bundle

from porter.cli.main import main
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables

ROOT = Path(__file__).parent.parent.parent
PACKAGES = (
    "torch",
    "timm",
    "torchvision",
    "PIL",
    "tensorflow",
    "tf_keras",
    "official",
    "transformers",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "onnx_ir",
    "h5py",
    "yaml",
    "filelock",
)

# The group and its subcommands, found through the commands themselves: a new one is tried unasked.
HELP = """
import click
from click.testing import CliRunner
from porter.cli.main import main

def commands(command, words):
    yield words
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), [*words, name])

tried = 0
for words in commands(main, []):
    result = CliRunner().invoke(main, [*words, "--help"])
    assert result.exit_code == 0, (words, result.output, result.exception)
    assert "Usage:" in result.output, words
    tried += 1
assert tried >= 11, tried
"""

# Ports the random weights of a network, which needs no package that may be missing.
PORT = """
import sys
from pathlib import Path
from porter.outputs.metadata import describe
from porter.planning.plan import plan
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables
from porter.transfer.transfer import transfer
tables = load_tables()
source = RandomCheckpoint(tables.variant("conv_small"), 0)
made = plan(source, tables, variant="conv_small")
transfer(source, made.assignments, Path(sys.argv[1]), metadata=describe(made, source.format, None))
"""


def without(hidden, *arguments):
    """Run Python in a process that cannot import `hidden`."""
    paths = os.pathsep.join([str(ROOT / "tests" / "traced"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths, "HIDDEN_PACKAGES": ",".join(hidden)}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip


@pytest.mark.parametrize("hidden", [PACKAGES, *((name,) for name in PACKAGES)], ids=lambda names: names[-1])
def test_help_works_on_every_installation(hidden):
    """Every command explains itself, whichever package is missing."""
    run = without(hidden, "-c", HELP)

    assert run.returncode == 0, run.stderr


@pytest.fixture(scope="module")
def ported(module_folder):
    """A ported file, made where nothing optional is installed."""
    out = module_folder("ported") / "model.safetensors"
    run = without(PACKAGES, "-c", PORT, out)
    assert run.returncode == 0, run.stderr
    return out


@pytest.fixture(scope="module")
def checkpoint(module_folder):
    """A checkpoint that TensorFlow could have written."""
    weights, bundle = RandomCheckpoint(load_tables().variant("mlperf_tiny_vww"), 0), Bundle()
    for key in weights.specs:
        bundle.put(key, np.asarray(weights.read(key)))
    return bundle.store(module_folder("checkpoint") / "ckpt-1")


KERAS_FILE = ROOT / "tests" / "checkpoints" / "written_by_keras_2_12" / "nested.full.h5"
TABLE = ROOT / "mappings" / "mlperf_tiny" / "visual_wake_words.toml"

NEEDS_NOTHING = [
    ["port-weights", "{checkpoint}", "{out}.safetensors"],
    ["port-weights", "{checkpoint}", "{out}", "--max-shard-size", "500KB"],
    ["port-weights", "--hub-folder", "{out}", "{checkpoint}"],
    ["inspect", "{checkpoint}"],
    ["inspect", "{ported}"],
    ["variants", "--markdown"],
    ["table", "conv_small"],
    ["table", "--check", str(TABLE)],
]
NEEDS_AN_EXTRA = [
    (["parity-check", "--variant", "conv_small"], "torch"),
    (["parity-check", "--variant", "conv_small", "--against", "golden"], "torch"),
    (["parity-check", "--variant", "conv_small", "--against", "onnx"], "torch,onnx"),
    (["parity-check", "--variant", "conv_small", "--against", "tensorflow"], "tensorflow"),
    (["parity-check", "--variant", "conv_small", "--seed", "3"], "tensorflow"),
    (["parity-check", "--variant", "conv_small", "--image", "a.png"], "tensorflow"),
    (["golden", "record", "conv_small"], "tensorflow"),
    (["golden", "verify", "conv_small"], "torch"),
    (["classify", "{ported}", "a.png"], "torch"),
    (["agree", "{checkpoint}", "{ported}", "--data", str(ROOT / "docs")], "torch"),
    (["export-onnx", "{ported}", "model.onnx"], "torch,onnx"),
    (["port-weights", str(KERAS_FILE), "{out}.safetensors"], "hdf5"),
    (["port-weights", "{checkpoint}", "{out}.safetensors", "--fold-bn"], "torch"),
    (["inspect", str(KERAS_FILE)], "hdf5"),
    (["parity-check", "--checkpoint", "{checkpoint}"], "tensorflow"),
    (["parity-check", "--checkpoint", "{checkpoint}", "--ported", "{ported}"], "tensorflow"),
    (["parity-check", "--ported", "{ported}", "--against", "{ported}"], "torch"),
    (["golden", "record", "--checkpoint", "{checkpoint}", "--out", "{out}"], "tensorflow"),
    (["match", "{checkpoint}", "--source", "module:network", "--target", "timm:resnet18"], "torch"),
    (["match", str(KERAS_FILE), "--target", "timm:resnet18"], "hdf5"),
]


def test_every_command_is_tried_without_extras():
    """A new command has to say here what it needs."""
    tried = {tuple(words[:2]) if words[0] == "golden" else (words[0],) for words in NEEDS_NOTHING}
    tried |= {tuple(words[:2]) if words[0] == "golden" else (words[0],) for words, _ in NEEDS_AN_EXTRA}

    assert tried == set(leaves(main, ()))


def leaves(command, words):
    """Yield the words of every command that is no group."""
    if not isinstance(command, click.Group):
        yield words
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        yield from leaves(command.get_command(context, name), (*words, name))


@pytest.mark.parametrize(("words", "extra"), NEEDS_AN_EXTRA)
def test_what_is_missing_is_named(ported, checkpoint, tmp_path, words, extra):
    """One line says what to install; there is no traceback and no file."""
    out = tmp_path / "out"
    arguments = [word.format(ported=ported, checkpoint=checkpoint, out=out) for word in words]

    run = without(PACKAGES, "-m", "porter.cli.main", *arguments)

    assert run.returncode == 1
    assert f"pip install 'port-weights[{extra}]'" in run.stderr
    assert "Traceback" not in run.stderr
    assert run.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", NEEDS_NOTHING, ids=" ".join)
def test_what_needs_no_package_works(ported, checkpoint, tmp_path, words):
    """Porting, and what is known of a network or file, needs none of them."""
    out = tmp_path / "out"
    arguments = [word.format(ported=ported, checkpoint=checkpoint, out=out) for word in words]

    run = without(PACKAGES, "-m", "porter.cli.main", *arguments)

    assert run.returncode == 0, run.stderr
    assert run.stdout
