"""docs/own-network.md does what it says; the code that a table names runs only if the person trusts it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from checkpoints.bundle_writer import Bundle
from cli.command_line import run

import porter
from porter.recordings.random_checkpoint import RandomCheckpoint

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own-network.md").read_text()
BLOCKS = re.compile(r"```\w+\n# (\w+\.\w+)\n(.*?)```", re.DOTALL)
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]
STRANGER = """
from pathlib import Path
Path("this_ran").touch()
def build(**arguments): raise SystemExit("this ran")
"""


def require(*packages):
    """Skip without these packages; importing TensorFlow and torch into one process would end it."""
    for package in packages:
        if find_spec(package) is None:
            pytest.skip(f"needs {package}")


def shell(command, folder):
    """Run one of the page's commands in `folder`; return the finished process."""
    program, *arguments = command.split()
    starts = {"python": [], "porter": ["-m", "porter.cli.main"]}
    start = starts.get(program, ["-m", "porter.cli.main", program])
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, *start, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def page(module_folder):
    """A folder with the files of the page."""
    folder = module_folder("page")
    for name, text in BLOCKS.findall(PAGE):
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def stranger(page, tmp_path, monkeypatch):
    """The page's table, weights for it, and a module that leaves a trace where it is imported."""
    (tmp_path / "own.toml").write_text((page / "own.toml").read_text())
    for name in ("own_torch", "own_keras"):
        (tmp_path / f"{name}.py").write_text(STRANGER)
    weights = RandomCheckpoint(porter.load_tables(tmp_path / "own.toml").variant("own"), seed=0)
    bundle = Bundle()
    for key in weights.specs:
        bundle.put(key, np.asarray(weights.read(key)))
    bundle.store(tmp_path / "ckpt-1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.tensorflow
@pytest.mark.torch
def test_every_command_of_the_page_works(page):
    """From nothing to a golden that is verified with torch alone, in the page's own commands."""
    require("tensorflow", "keras", "torch", "timm")
    assert len(COMMANDS) == 6

    for command in COMMANDS:
        done = shell(command, page)

        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr[-2000:]}"
        if command.startswith("parity-check --checkpoint"):
            assert "PARITY" in done.stdout.splitlines()
            for layer in ("conv1", "bn1", "conv2", "bn2", "fc1", "fc2"):
                assert re.search(rf"^  {layer} +\S+ +\S+ +1e-11$", done.stdout, re.MULTILINE), layer
    assert shell("python use.py", page).stdout == "torch.Size([1, 5])\n"
    source = shell("parity-check --variant own --table own.toml --trust-table --source own_keras:build", page)
    assert "PARITY" in source.stdout.splitlines(), source.stdout + source.stderr
    assert "built by own_keras:build" in source.stdout


def test_a_port_runs_nothing_of_a_table(stranger):
    """A table of a stranger is data: a port needs no torch, and imports nothing that the table names."""
    program = (
        "import sys; sys.modules['torch'] = sys.modules['tensorflow'] = None\n"
        "from porter.cli.port_weights import port_weights\n"
        "port_weights(['ckpt-1', 'own.safetensors', '--table', 'own.toml'])"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "porter.load_model('own.safetensors', trust_table=True)" in done.stdout
    assert not (stranger / "this_ran").exists()


@pytest.mark.parametrize(
    "command",
    [
        "parity-check --checkpoint ckpt-1 --table own.toml",
        "parity-check --checkpoint ckpt-1 --table own.toml --source own_keras:build",
        "golden record own --table own.toml",
        "golden record --checkpoint ckpt-1 --out golden.safetensors --table own.toml",
        "classify own.safetensors image.png",
        "export-onnx own.safetensors own.onnx --table own.toml",
    ],
)
@pytest.mark.torch
@pytest.mark.tensorflow
def test_code_of_a_table_is_refused(stranger, command):
    """Every command that would run a table's function says which, and how to allow it, and runs nothing."""
    require("torch", "timm", "tensorflow", "onnx", "onnxruntime", "onnxscript")
    porter.port("ckpt-1", "own.safetensors", tables=porter.load_tables("own.toml"))

    result = run(*command.split())

    assert result.exit_code == 1
    assert "own_torch:build" in result.output
    assert "--trust-table" in result.output
    assert "[table/not-trusted]" in result.output
    assert not (stranger / "this_ran").exists()


def test_a_table_is_looked_at_without_its_code(stranger):
    """`porter table --check` says what it did not look at."""
    result = run("table", "--check", "own.toml")

    assert result.exit_code == 0, result.output
    assert "own_torch:build was not run" in result.output
    assert not (stranger / "this_ran").exists()


def test_folding_is_refused_with_its_reason(stranger):
    """What a port cannot do without running the table's code it refuses, and says what can."""
    result = run("port-weights", "ckpt-1", "own.safetensors", "--table", "own.toml", "--fold-bn")

    assert result.exit_code == 1
    assert "[fold/own-network]" in result.output
    assert not list(stranger.glob("*.safetensors"))


def test_a_draft_ports_only_with_draft(stranger):
    """A table that is not proved is not used unless the person says so."""
    with (stranger / "own.toml").open("a") as table:
        table.write('\n[proof]\nstatus = "draft"\nopen = ["fc1 or fc2"]\n')

    refused = run("port-weights", "ckpt-1", "own.safetensors", "--table", "own.toml")
    done = run("port-weights", "ckpt-1", "own.safetensors", "--table", "own.toml", "--draft")

    assert refused.exit_code == 1
    assert "[plan/draft]" in refused.output
    assert "fc1 or fc2" in refused.output
    assert done.exit_code == 0, done.output
