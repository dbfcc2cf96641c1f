"""`port-weights`: its output's name, and a process that ends at once with everything printed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli.command_line import run

from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables

sys.path.insert(0, str(Path(__file__).parents[1] / "checkpoints"))


def test_output_file_without_its_suffix_is_told_apart(tmp_path):
    """Timm tells the format by the name, so a file that it would misread is not written; a folder is free."""
    refused = run("port-weights", tmp_path / "nothing", tmp_path / "model.pth")
    folder = run("port-weights", tmp_path / "nothing", tmp_path / "model", "--max-shard-size", "1MB")

    assert "must end in .safetensors" in refused.stderr
    assert "checkpoint/not-found" in folder.stderr


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


@pytest.fixture
def written(tmp_path):
    """The prefix of a checkpoint with weights and nothing else."""
    import bundle_writer

    weights, bundle = RandomCheckpoint(load_tables().variants["mlperf_tiny_vww"], 0), bundle_writer.Bundle()
    for key in weights.specs:
        bundle.put(key, weights.read(key))
    return bundle.store(tmp_path / "source")


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


def test_a_port_of_weights_alone_imports_what_it_needs(tmp_path, written):
    """Importing is a good part of a small port: archives, heads and refusals are for those that have them."""
    program = (
        "import os, sys; os._exit = lambda code: None\n"
        "from port_weights import port_weights\n"
        "try: port_weights()\n"
        "except SystemExit as end: print(end.code, *sorted(sys.modules), sep='\\n')"
    )
    arguments = ["-q", written, tmp_path / "out.safetensors", "--variant", "mlperf_tiny_vww"]

    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )

    code, *modules = ended.stdout.split()
    assert code == "0"
    assert "porter.transfer.transfer" in modules
    unneeded = {
        *("shlex", "shutil", "zipfile", "porter.transfer.direct_writer"),
        *("porter.planning.own_head", "porter.planning.nearest", "porter.planning.network.canonical"),
    }
    assert unneeded.isdisjoint(modules), unneeded.intersection(modules)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_under_stdout_is_one_line():
    """Where the report cannot be written, the command fails and says why, without a traceback."""
    with Path("/dev/full").open("w") as full:
        result = run_installed("--help", stdout=full)

    assert result.returncode != 0
    assert "No space left on device" in result.stderr
    assert "Traceback" not in result.stderr
