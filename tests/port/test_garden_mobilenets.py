"""Model Garden MobileNets before and beside V4: what TensorFlow wrote is ported bit by bit and loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import porter
from porter.checks.check import Check, check_against_tensorflow
from porter.parity.outcome import Verdict
from porter.planning.ledger import Bucket
from porter.tables.shipped import load_tables

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

# One of each kind of block, each way of building the PyTorch side, and a width that is not 1.
NAMES = [
    "garden_mobilenetv1_025",
    "garden_mobilenetv1_100h",
    "garden_mobilenetv2_035",
    "garden_mobilenetv3_small_100",
    "garden_mobilenetv3_edgetpu",
    "garden_mobilenet_multi_max_seg",
    "garden_mobilenetv4_conv_small_050",
]
SMALL = ((32, 32), (33, 33))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Let TensorFlow write every network once."""
    pytest.importorskip("official", reason="needs tf-models-official")
    folder = tmp_path_factory.mktemp("written")
    command = [sys.executable, Path(__file__).parent / "write_variants.py", folder, *NAMES]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_port_is_bit_exact_and_loads_strictly(written, tmp_path, name):
    """Every target tensor is TensorFlow's variable in another layout, scaled where the table says so."""
    variant = load_tables().variants[name]
    expected = np.load(written / name / "expected.npz")

    result = porter.port(written / name / "ckpt-1", tmp_path / "out.safetensors")

    assert result.plan.variant.name == name
    assert {line.bucket for line in result.plan.ledger} == {Bucket.MAPPED, Bucket.BOOKKEEPING}
    assert {variant.full_source(entry) for entry in variant.entries} == set(expected.files)
    found = load_file(result.out)
    for entry in variant.entries:
        value = entry.layout.apply(expected[variant.full_source(entry)])
        wanted = (value.astype(np.float64) * entry.scale).astype(np.float32)
        np.testing.assert_array_equal(wanted.view(np.uint32), found[entry.target].view(np.uint32))
    state = porter.load_model(result.out).state_dict()
    assert set(state) == set(found)
    assert all(np.array_equal(state[key].numpy(), value) for key, value in found.items())


def test_gate_constant_is_in_the_projection_alone():
    """6 x 0.16667 is not 1: the convolutions behind squeeze-and-excitation, and no others, are scaled."""
    variant = load_tables().variants["garden_mobilenetv3_large_100"]

    scaled = {entry.block.rpartition(".")[2]: entry.scale for entry in variant.entries if entry.scale != 1}
    assert scaled == {"_conv2": 1.00002}
    assert sum(entry.scale != 1 for entry in variant.entries) == 8


@pytest.mark.parametrize("name", ["garden_mobilenetv1_025", "garden_mobilenetv3_small_100"])
def test_every_stage_agrees_in_float64(name):
    """Plain timm with folded gates, and timm's class from a list of blocks, compute what TensorFlow does."""
    report = check_against_tensorflow(
        Check(load_tables().variants[name], sizes=SMALL, dtypes=("float64",))
    ).report

    assert report.verdict is Verdict.PARITY
    assert max(case.worst for case in report.cases) < 1e-11
