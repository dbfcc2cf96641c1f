"""Networks of keras.applications as Keras 3 builds them: its files are ported, its logits are the judge."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from warm_frameworks import run_with_tensorflow

import porter
from porter.tables.shipped import load_tables

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

TABLES = load_tables()
WRITER = Path(__file__).parent / "write_keras_3_applications.py"
NETWORKS = [
    "keras_mobilenetv1_025",
    "keras_mobilenetv2_035",
    "keras_mobilenetv3_large_100",
    "keras_mobilenetv3_small_100",
    "keras_mobilenetv3_small_minimal_100",
    "keras_efficientnet_b0",
    "keras_efficientnetv2_b0",
    "keras_resnet50",
]
FILES = ["model.keras", "model.h5", "state.weights.h5"]
LIMIT = 1e-11


@pytest.fixture(scope="module")
def written(module_folder):
    """Let Keras 3 write and run every network once."""
    for package in ("keras", "tensorflow", "h5py"):
        if find_spec(package) is None:  # importing it here would bring TensorFlow into torch's process
            pytest.skip(f"needs {package}")
    folder = module_folder("keras_3")
    arguments = json.dumps({name: TABLES.variants[name].source.arguments for name in NETWORKS})
    run_with_tensorflow(WRITER, folder, arguments)
    return folder


@pytest.mark.parametrize("name", NETWORKS)
def test_port_computes_the_logits_of_keras_3(written, tmp_path, name):
    """Each of its three files ports to the same tensors, and they give Keras 3's logits in float64."""
    import torch

    outs = [tmp_path / f"{file}.safetensors" for file in FILES]
    results = [porter.port(written / name / file, out) for file, out in zip(FILES, outs, strict=True)]
    model = porter.load_model(results[0].out).double()
    with np.load(written / name / "run.npz") as run:
        image, expected = (run[key] for key in ("prepared", "logits"))
    with torch.no_grad():
        found = model(torch.from_numpy(image.transpose(0, 3, 1, 2).copy())).numpy()

    first, *others = (load_file(result.out) for result in results)
    assert {result.plan.variant.name for result in results} == {name}
    for other in others:
        assert set(other) == set(first)
        assert all(other[key].tobytes() == value.tobytes() for key, value in first.items())
    worst = np.abs(found - expected).max() / np.abs(expected).max()
    print(f"worst float64 error of the logits {worst:.1e}")
    assert np.ptp(expected, axis=0).min() > 0, "the logits do not depend on the image"
    assert worst < LIMIT
