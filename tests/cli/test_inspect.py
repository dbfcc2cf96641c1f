"""`porter inspect`: what a checkpoint holds, known or not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from checkpoints.bundle_writer import Bundle
from cli.command_line import run


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint of two tensors that no table knows."""
    bundle = Bundle()
    bundle.put("dense/bias", np.zeros(4, np.float32))
    bundle.put("dense/kernel", np.zeros((3, 4), np.float32))
    return bundle.store(tmp_path / "ckpt-1")


def test_inspect_shows_every_tensor_of_an_unknown_network(checkpoint):
    """Format and count stand first; each tensor is a line with its type and shape."""
    lines = run("inspect", checkpoint).stdout.splitlines()

    assert "TensorBundle" in next(line for line in lines if line.startswith("format"))
    assert next(line for line in lines if line.startswith("tensors")).split()[1] == "2"
    assert sum("float32" in line for line in lines) == 2


def test_quiet_is_the_summary_alone(checkpoint):
    """-q leaves out the tensors."""
    summary = run("inspect", checkpoint, "-q").stdout

    assert summary
    assert run("inspect", checkpoint).stdout.startswith(summary)
    assert "float32" not in summary


def test_json_holds_the_same_tensors(checkpoint):
    """--json prints one document and nothing else."""
    document = json.loads(run("inspect", checkpoint, "--json").stdout)

    assert len(document["tensors"]) == 2
