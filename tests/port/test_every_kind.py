"""One network of each kind: what TensorFlow wrote is ported bit by bit, loads, and computes the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from expected_tensors import expected_tensors
from safetensors.numpy import load_file
from warm_frameworks import run_with_tensorflow

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
    "garden_efficientnet_b0",
    "garden_resnet50d",
    "garden_resnetrs50",
    "garden_vit_tiny_patch16_224",
    "edgetpu_mobilenet_v1",
    "edgetpu_mobilenet_v2_tiny",
    "mobilenetv4_conv_blur_medium",
    "keras_mobilenetv1_025",
    "keras_mobilenetv3_small_minimal_100",
    "keras_convnext_tiny",
    "keras_densenet121",
    "keras_inception_resnet_v2",
    "keras_inception_v3",
    "keras_resnet50v2",
    "keras_resnetrs50",
    "keras_regnety002",
    "keras_vgg16",
    "keras_xception",
    "keras_efficientnetv2_b0",
    "keras_efficientnetv2_l",
    "mlperf_tiny_vww",
    "simclr_resnet50_1x",
    "yamnet",
]


@pytest.fixture(scope="module")
def written(module_folder):
    """Let TensorFlow write every network once."""
    pytest.importorskip("official", reason="needs tf-models-official")
    folder = module_folder("written")
    run_with_tensorflow(Path(__file__).parent / "write_variants.py", folder, *NAMES)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_port_is_bit_exact_and_loads_strictly(written, tmp_path, name):
    """Every target tensor is TensorFlow's variables in its layout, scaled and joined as the table says."""
    variant = load_tables().variants[name]
    expected = np.load(written / name / "expected.npz")
    asked = name if variant.twin else None

    result = porter.port(written / name / "ckpt-1", tmp_path / "out.safetensors", variant=asked)

    assert result.plan.variant.name == name
    left_out = {Bucket.LEFT_OUT} if variant.left_out else set()
    fine = {Bucket.MAPPED, Bucket.BOOKKEEPING, Bucket.FOLDED} | left_out
    assert {line.bucket for line in result.plan.ledger} <= fine
    # A variable in a list has a second path; that none is left behind, the ledger says.
    assert {variant.full_source(entry) for entry in variant.entries} <= set(expected.files)
    found = load_file(result.out)
    for target, value in expected_tensors(variant, expected):
        shaped = value.reshape(found[target].shape)
        np.testing.assert_array_equal(shaped.view(np.uint32), found[target].view(np.uint32), target)
    state = porter.load_model(result.out).state_dict()
    assert set(state) == set(found)
    assert all(np.array_equal(state[key].numpy(), value) for key, value in found.items())


def test_gate_constant_is_in_the_projection_alone():
    """6 x 0.16667 is not 1: the convolutions behind squeeze-and-excitation, and no others, are scaled."""
    variant = load_tables().variants["garden_mobilenetv3_large_100"]

    scaled = {entry.block.rpartition(".")[2]: entry.scale for entry in variant.entries if entry.scale != 1}
    assert scaled == {"_conv2": 1.00002}
    assert sum(entry.scale != 1 for entry in variant.entries) == 8


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("garden_mobilenetv1_025", ((32, 32), (33, 33))),
        ("garden_mobilenetv3_small_100", ((32, 32), (33, 33))),
        ("garden_resnet50d", ((64, 64), (65, 65))),
        ("garden_vit_tiny_patch16_224", ()),
        ("edgetpu_mobilenet_v2_tiny", ((64, 64), (65, 97))),
        ("mobilenetv4_conv_blur_medium", ((64, 64), (65, 65))),
    ],
)
def test_every_stage_agrees_in_float64(name, sizes):
    """Networks of every kind, own, adjusted or timm's, compute what TensorFlow does."""
    check = Check(load_tables().variants[name], sizes=sizes, dtypes=("float64",))
    report = check_against_tensorflow(check).report

    assert report.verdict is Verdict.PARITY
    assert max(case.worst for case in report.cases) < 1e-11
    assert all(stage.local is not None for case in report.cases for stage in case.stages[1:])
