"""Networks of tf_keras.applications, in every way in which Keras saves them."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file
from warm_frameworks import run_with_tensorflow

import porter
from porter.checks.check import Check, check_against_tensorflow
from porter.checks.goldens import verify_goldens
from porter.parity.golden_files import golden_path
from porter.parity.outcome import Verdict
from porter.planning.ledger import Bucket
from porter.recordings.recording import Recording
from porter.tables.shipped import load_tables, mappings_folder

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

TABLES = load_tables()
WRITER = Path(__file__).parent / "write_keras_applications.py"
WAYS = ["checkpoint", "save_weights", "saved_model", "h5", "whole_h5", "keras"]
NETWORKS = ["keras_mobilenetv2_035", "keras_efficientnet_b0"]


@pytest.fixture(scope="module")
def written(module_folder):
    """Return a function from variant to the folder where Keras wrote it, once per session."""
    if find_spec("tf_keras") is None:  # importing it here would bring TensorFlow into timm's process
        pytest.skip("needs tensorflow and tf-keras")
    done = {}

    def folder(name):
        if name not in done:
            done[name] = module_folder(name)
            arguments = dict(TABLES.variants[name].source.arguments)
            model = arguments.pop("model")
            ways = WAYS if name in NETWORKS else WAYS[:1]
            run_with_tensorflow(WRITER, done[name], model, json.dumps(arguments), *ways)
        return done[name]

    return folder


def source(folder):
    """Return what a person would type for what was saved in `folder`."""
    files = [file for suffix in ("*.h5", "*.keras") for file in folder.glob(suffix)]
    return files[0] if files else folder


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("way", WAYS)
def test_port_is_bit_exact_and_loads_strictly(written, tmp_path, name, way):
    """Every target tensor is Keras's own variable after the layout change, and the network takes all."""
    folder = written(name)
    expected = np.load(folder / "expected.npz")

    result = porter.port(source(folder / way), tmp_path / "out.safetensors")

    assert result.plan.variant.name == name
    assert not [line for line in result.plan.ledger if line.bucket is Bucket.REFUSED]
    found = load_file(result.out)
    for entry in TABLES.variants[name].entries:
        value = entry.layout.apply(expected[entry.source])
        np.testing.assert_array_equal(value.view(np.uint32), found[entry.target].view(np.uint32))
    porter.load_model(result.out)


def test_normalization_layer_becomes_mean_and_std(written, tmp_path):
    """What the layer in front of EfficientNet stores is the metadata's mean, and its root the std."""
    folder = written("keras_efficientnet_b0")
    expected = np.load(folder / "expected.npz")

    result = porter.port(folder / "checkpoint", tmp_path / "out.safetensors")

    with safe_open(result.out, "numpy") as file:
        images = json.loads(file.metadata()["porter.input"])
    np.testing.assert_allclose(images["mean"], expected["layer_with_weights-0/mean"], rtol=1e-7)
    variance = expected["layer_with_weights-0/variance"]
    np.testing.assert_allclose(images["std"], np.sqrt(variance.astype(float)), rtol=1e-7)
    left_out = [line.path for line in result.plan.ledger if line.bucket is Bucket.LEFT_OUT]
    assert len([path for path in left_out if "layer_with_weights-0/" in path]) == 3


def test_bias_in_front_of_a_norm_goes_into_its_mean(written, tmp_path):
    """Each mean of a ResNet is Keras's less the convolution's bias, rounded once; the rest is as stored."""
    folder = written("keras_resnet50")
    expected = np.load(folder / "expected.npz")
    entries = TABLES.variants["keras_resnet50"].entries
    biases = {entry.target: expected[entry.source] for entry in entries if entry.folded}

    result = porter.port(folder / "checkpoint", tmp_path / "out.safetensors")

    found = load_file(result.out)
    assert len(biases) == 53
    for entry in entries:
        value = entry.layout.apply(expected[entry.source])
        if entry.target in biases:
            value = (value.astype(np.float64) - biases[entry.target]).astype(np.float32)
        if not entry.folded:
            np.testing.assert_array_equal(value.view(np.uint32), found[entry.target].view(np.uint32))
    assert porter.load_model(result.out).layer2[0].conv1.stride == (2, 2)


def test_stored_weights_agree_with_keras(written):
    """TensorFlow's own restoring and the port give the same network, at an even and an odd size."""
    check = Check(
        TABLES.variants["keras_efficientnet_b0"],
        sizes=((64, 64), (65, 65)),
        dtypes=("float64",),
        checkpoint=written("keras_efficientnet_b0") / "checkpoint",
    )

    report = check_against_tensorflow(check).report

    assert report.verdict is Verdict.PARITY


FAULTS = {
    "keras_mobilenetv2_100": ("mobilenet_v2.toml", 'pad_type = "same"', "drop_rate = 0.0"),
    "keras_efficientnet_b0": ("efficientnet.toml", "default = 1e-3", "default = 1e-5"),
    "keras_efficientnetv2_b0": ("efficientnet_v2.toml", "default = 1e-3", "default = 1e-5"),
    "keras_resnet50": ("resnet.toml", 'adjust = ["stride_in_first_convolution"]', ""),
    "keras_mobilenetv3_small_100": ("mobilenet_v3.toml", "default = 1e-3", "default = 1e-5"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_in_the_table_is_found(tmp_path, name):
    """A wrong epsilon, padding or stride fails the golden of its network."""
    file, right, wrong = FAULTS[name]
    text = (mappings_folder() / "keras" / file).read_text()
    assert right in text
    (tmp_path / file).write_text(text.replace(right, wrong))
    tables = load_tables(tmp_path / file)
    golden = Recording.load(golden_path(tables.variants[name]))
    provenance = replace(golden.provenance, table_digest=tables.variants[name].digest)
    Recording(provenance, golden.runs).save(tmp_path / "golden.safetensors")

    report = verify_goldens([tmp_path / "golden.safetensors"], tables)[0].report

    assert report.verdict is Verdict.NO_PARITY
