"""EfficientNets of the package `efficientnet`, from which Keras has its own: people still hold its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
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


@pytest.mark.parametrize("file", ["full.h5", "saved"])
def test_its_files_are_known_and_answer_as_the_model_does(written, tmp_path, file):
    """A Dropout of its own class does nothing; the same network has two names, and needs no --variant."""
    import torch

    reference = np.load(written / "reference.npz")

    result = porter.port(written / file, tmp_path / "out.safetensors")
    model = porter.load_model(result.out)
    with torch.inference_mode():
        found = model(torch.from_numpy(reference["x"].transpose(0, 3, 1, 2).copy())).softmax(-1).numpy()

    assert result.plan.variant.target.name == "tf_efficientnet_b0"
    assert result.plan.network.startswith("222 layers as ")
    np.testing.assert_allclose(found, reference["y"], rtol=0, atol=2e-5)  # float32


def test_the_check_runs_its_network_without_its_code(written):
    """Dropout of Keras stands for that of the package, and every stage agrees."""
    report = porter.check(checkpoint=written / "full.h5")

    assert report.passed
    assert "TensorFlow ran the file's own network" in " ".join(report.text().split())
