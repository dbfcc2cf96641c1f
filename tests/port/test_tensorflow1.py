"""Checkpoints with the names that the first TensorFlow implementations gave their variables."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from expected_tensors import expected_tensors
from safetensors import safe_open
from safetensors.numpy import load_file
from warm_frameworks import run_with_tensorflow

import porter
from porter.checks.check import Check, check_against_tensorflow
from porter.errors import PlanError, TableError
from porter.parity.outcome import Verdict
from porter.planning.ledger import Bucket
from porter.runners.substitute import network_of
from porter.tables.shipped import load_tables, mappings_folder

TABLES = load_tables()
WRITER = Path(__file__).parent / "write_tensorflow1.py"
NETWORKS = [
    "slim_mobilenetv1_025",
    "slim_mobilenetv2_035",
    "slim_mobilenetv3_small_100",
    "tpu_efficientnet_b0",
    "tpu_efficientnet_lite0",
    "tpu_efficientnet_es",
    "automl_efficientnetv2_b0",
    "automl_efficientnetv2_l",
    "tpu_mnasnet_a1",
    "tpu_mixnet_s",
]
STOOD_IN = [name for name, variant in TABLES.variants.items() if variant.has_stand_in]


@pytest.fixture(scope="module")
def written(module_folder):
    """Return the folder where TensorFlow wrote a folder per network, once."""
    if find_spec("tensorflow") is None:  # importing it here would bring TensorFlow into timm's process
        pytest.skip("needs tensorflow")
    folder = module_folder("tensorflow1")
    run_with_tensorflow(WRITER, folder, *NETWORKS)
    return folder


def expected_weights(folder, variant):
    """Return what PyTorch should hold, from the averages that were written."""
    averages = dict(np.load(folder / variant.name / "expected.npz"))
    scope = next(iter(averages)).partition("/")[0]
    assert {f"{scope}/{entry.source}" for entry in variant.entries} == set(averages)
    return dict(expected_tensors(variant, averages, f"{scope}/"))


def assert_bits(found, expected):
    """Require every expected tensor, bit by bit."""
    for target, value in expected.items():
        shaped = value.reshape(found[target].shape)
        np.testing.assert_array_equal(shaped.view(np.uint32), found[target].view(np.uint32), target)


@pytest.mark.tensorflow
@pytest.mark.torch
@pytest.mark.parametrize("name", NETWORKS)
def test_port_takes_the_averages_bit_by_bit(written, tmp_path, name):
    """The network is found by its names, every average arrives unchanged, and PyTorch loads all of it."""
    variant = TABLES.variants[name]

    result = porter.port(written / name / "model.ckpt-100", tmp_path / "out.safetensors")

    assert result.plan.variant.name == name
    assert result.plan.weights == "ema"
    assert variant.note in result.plan.notes
    assert not [line for line in result.plan.ledger if line.bucket is Bucket.REFUSED]
    found = load_file(result.out)
    assert_bits(found, expected_weights(written, variant))
    assert porter.load_model(result.out).num_classes == 1001


@pytest.mark.tensorflow
@pytest.mark.parametrize("weights", ["auto", "ema"])
def test_averages_alone_are_enough(written, tmp_path, weights):
    """A checkpoint that was published with nothing but the moving averages ports to the same file."""
    name = "slim_mobilenetv1_025"

    result = porter.port(written / name / "averages.ckpt", tmp_path / "out.safetensors", weights=weights)

    assert result.plan.weights == "ema"
    assert result.plan.from_average == len(result.plan.variant.entries)
    found = load_file(result.out)
    assert_bits(found, expected_weights(written, TABLES.variants[name]))


@pytest.mark.tensorflow
def test_weights_as_trained_are_not_made_of_averages(written, tmp_path):
    """Raw weights that a checkpoint of averages does not have are refused, and nothing is written."""
    source = written / "slim_mobilenetv1_025" / "averages.ckpt"

    with pytest.raises(PlanError, match="stored as moving averages alone") as refused:
        porter.port(source, tmp_path / "out.safetensors", weights="raw")

    assert refused.value.code == "plan/averages-alone"
    assert not list(tmp_path.iterdir())


@pytest.mark.tensorflow
def test_background_is_left_out_on_request(written, tmp_path):
    """``classes="drop-background"`` gives the 1000 classes of everybody else, in their order."""
    folder = written / "slim_mobilenetv2_035"
    expected = np.load(folder / "expected.npz")["MobilenetV2/Logits/Conv2d_1c_1x1/biases"]

    porter.port(folder / "model.ckpt-100", tmp_path / "out.safetensors", classes="drop-background")

    found = load_file(tmp_path / "out.safetensors")["classifier.bias"]
    np.testing.assert_array_equal(found, expected[1:])


@pytest.mark.tensorflow
def test_images_of_advprop_are_asked_for(written, tmp_path):
    """No checkpoint tells AdvProp: the port says so, and what a person chooses goes into the metadata."""
    source = written / "tpu_efficientnet_b0" / "model.ckpt-100"

    usual = porter.port(source, tmp_path / "usual.safetensors")
    chosen = porter.port(source, tmp_path / "chosen.safetensors", preset="advprop")

    assert any("--preset advprop" in note for note in usual.plan.notes)
    assert not any("advprop" in note for note in chosen.plan.notes)
    assert (usual.plan.input_spec.mean, usual.plan.input_spec.std) != ((0.5,) * 3, (0.5,) * 3)
    assert (chosen.plan.input_spec.mean, chosen.plan.input_spec.std) == ((0.5,) * 3, (0.5,) * 3)
    with safe_open(chosen.out, "np") as file:
        assert json.loads(file.metadata()["porter.input"])["mean"] == [0.5, 0.5, 0.5]


@pytest.mark.tensorflow
def test_images_that_a_table_does_not_know_are_refused(written, tmp_path):
    """A network that takes images in one way only does not pretend to know another."""
    with pytest.raises(PlanError, match="has no preset 'advprop'") as refused:
        porter.port(
            written / "slim_mobilenetv2_035" / "model.ckpt-100",
            tmp_path / "out.safetensors",
            preset="advprop",
        )

    assert refused.value.code == "plan/pictures"


@pytest.mark.tensorflow
@pytest.mark.torch
def test_stored_weights_agree_with_the_network_that_stands_in(written):
    """What TensorFlow reads by name makes the stand-in compute what the port computes."""
    check = Check(
        TABLES.variants["slim_mobilenetv2_035"],
        sizes=((64, 64), (65, 65)),
        dtypes=("float64",),
        checkpoint=written / "slim_mobilenetv2_035" / "model.ckpt-100",
    )

    assert check_against_tensorflow(check).report.verdict is Verdict.PARITY


@pytest.mark.parametrize("name", STOOD_IN)
def test_network_that_stands_in_makes_the_same_tensors(name):
    """Both tables lead to the same tensors of one PyTorch network, and the note says what is not run."""
    variant = TABLES.variants[name]

    other = network_of(variant)

    assert other.target.name == variant.target.name
    assert other.network == variant.network
    assert "not part of the check" in variant.note


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"keras_mobilenetv2_035"', '"keras_mobilenetv2_050"'),
        ('shape = "1 1 mid out"', 'shape = "1 1 mid out", scale = 2.0'),
    ],
)
def test_another_network_cannot_substitute(tmp_path, old, new):
    """A table whose network has other widths, or another factor, is refused before anything is built."""
    text = (mappings_folder() / "slim" / "mobilenet_v2.toml").read_text()
    assert old in text
    (tmp_path / "t.toml").write_text(text.replace(old, new))
    variant = load_tables(tmp_path / "t.toml").variant("slim_mobilenetv2_035")

    with pytest.raises(TableError, match="cannot stand in") as refused:
        network_of(variant)

    assert refused.value.code == "table/stand-in"
