"""EfficientNets of the package `efficientnet`, from which Keras has its own: people still hold its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from expected_tensors import expected_tensors
from safetensors.numpy import load_file
from warm_frameworks import run_with_tensorflow

import porter

WRITER = Path(__file__).parent / "write_efficientnet_package.py"

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]


@pytest.fixture(scope="module")
def written(module_folder):
    """Return the folder where the model was written."""
    folder = module_folder("efficientnet")
    run_with_tensorflow(WRITER, folder)
    return folder


@pytest.mark.parametrize("file", ["weights.h5", "full.h5", "saved"])
def test_its_files_are_known_and_answer_as_the_model_does(written, tmp_path, file):
    """A Dropout of its own class does nothing, and nothing is missing that Keras's network has in front."""
    import torch

    reference = np.load(written / "reference.npz")

    result = porter.port(written / file, tmp_path / "out.safetensors")
    model = porter.load_model(result.out)
    with torch.inference_mode():
        found = model(torch.from_numpy(reference["x"].transpose(0, 3, 1, 2).copy())).softmax(-1).numpy()

    assert result.plan.variant.target.name == "tf_efficientnet_b0"
    assert result.plan.variant.name == "qubvel_efficientnet_b0"
    assert result.plan.network.startswith("the source stores" if file == "weights.h5" else "222 layers as ")
    assert result.plan.notes == (result.plan.variant.note,)
    np.testing.assert_allclose(found, reference["y"], rtol=0, atol=2e-5)  # float32


@pytest.mark.parametrize("file", ["weights.h5", "newer.weights.h5"])
def test_published_weights_arrive_bit_by_bit(written, tmp_path, file):
    """Layers that are only in order in the file find their places."""
    result = porter.port(written / file, tmp_path / "out.safetensors")

    assert result.plan.variant.name == "qubvel_efficientnet_b0"
    found = load_file(result.out)
    for target, value in expected_tensors(result.plan.variant, np.load(written / "expected.npz")):
        shaped = value.reshape(found[target].shape)
        np.testing.assert_array_equal(shaped.view(np.uint32), found[target].view(np.uint32), target)


@pytest.mark.parametrize("file", ["keras.h5", "keras.weights.h5", "keras_ckpt", "keras_head.weights.h5"])
def test_weights_of_keras_are_told_from_those_of_the_package(written, file):
    """A Normalization in front is what Keras's network has more, and tells the two apart."""
    with porter.open_checkpoint(written / file) as checkpoint:
        plan = porter.plan(checkpoint, backbone_only=True)
    assert plan.variant.name == "keras_efficientnet_b0"
    assert any("Normalization layer" in note for note in plan.notes)  # its mean and std count


@pytest.mark.parametrize(
    ("file", "ran"),
    [
        ("full.h5", "TensorFlow ran the file's own network"),
        ("weights.h5", "TensorFlow ran keras.application"),
    ],
)
def test_the_check_runs_without_its_code(written, file, ran):
    """Dropout of Keras stands for that of the package, Keras's network for weights alone; all agree."""
    report = porter.check(checkpoint=written / file)

    assert report.passed
    assert ran in " ".join(report.text().split())
