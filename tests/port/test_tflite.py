"""TensorFlow Lite models as TensorFlow's converter writes them: timm computes what the interpreter does."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file
from warm_frameworks import run_with_tensorflow

import porter
from porter.checks.check import Check, check_all_against_tensorflow
from porter.parity.outcome import Verdict

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

HERE = Path(__file__).parent
VARIANTS = [
    "keras_mobilenetv1_025",
    "keras_mobilenetv2_035",
    "keras_mobilenetv3_small_075",
    "garden_mobilenetv4_conv_small_050",
    "tpu_efficientnet_lite0",
    "garden_resnet50",
]
# Of plain convolutions, and of the published form of MobileNetV4.
CHECKED = ["keras_mobilenetv1_025", "garden_mobilenetv4_conv_small_050"]
# Rounding of float32; of float16; of layers' inputs to 8 bits; of all that is computed to 8 bits.
TOLERANCES = {"float32": 2e-5, "float16": 1e-4, "dynamic": 2e-2, "int8": 1e-1}
CASES = [(variant, kind) for variant in VARIANTS for kind in TOLERANCES]
# Its norms behind several maps are ones that no layer takes in.
CASES += [("keras_densenet121", kind) for kind in ("float32", "int8")]
CORAL = ["mobilenet_v1_0.25_128_quant.tflite", "tf2_mobilenet_v2_1.0_224_ptq.tflite"]


def run(script, *arguments):
    """Run a script that needs TensorFlow."""
    run_with_tensorflow(HERE / script, *arguments)


@pytest.fixture(scope="module")
def written(module_folder):
    """Return the folder where TensorFlow wrote its models."""
    if find_spec("tensorflow") is None:
        pytest.skip("needs tensorflow")
    folder = module_folder("tflite")
    run("write_tflite.py", folder)
    return folder


def input_of(ported):
    """Return what a ported file says of its images."""
    with safe_open(ported, "numpy") as file:
        return json.loads(file.metadata()["porter.input"])


def probabilities(ported, pixels):
    """Return what timm computes of images (N, H, W, 3) in 0..255, prepared as the file says."""
    import torch

    images = input_of(ported)
    given = ((pixels.astype(np.float64) / 255 - images["mean"]) / images["std"]).astype(np.float32)
    with torch.no_grad():
        return porter.load_model(ported)(torch.from_numpy(given).permute(0, 3, 1, 2)).softmax(1).numpy()


@pytest.mark.parametrize(("variant", "kind"), CASES)
def test_port_computes_what_the_interpreter_computes(written, tmp_path, variant, kind):
    """The network is found without a name, and its probabilities are the interpreter's."""
    expected = np.load(written / f"{variant}_{kind}.npz")

    result = porter.port(written / f"{variant}_{kind}.tflite", tmp_path / "out.safetensors")

    assert result.plan.variant.name == variant
    assert "as the file's graph says" in result.plan.network
    found = probabilities(result.out, expected["pixels"])
    assert 0.2 < np.ptp(expected["probabilities"]) < 0.7
    np.testing.assert_allclose(found, expected["probabilities"], rtol=0, atol=TOLERANCES[kind])


def test_head_is_ported_from_its_operators(written, tmp_path):
    """A norm, a dense layer on a map and a layer norm are several operators each."""
    expected = np.load(written / "head.npz")

    result = porter.port(written / "head.tflite", tmp_path / "out.safetensors")

    head = "norm, relu, conv 8, relu, global_avg_pool, dense 16, prelu, layer_norm, dense 7, softmax"
    assert result.plan.network.endswith(f"a head of its own: {head}")
    found = probabilities(result.out, expected["pixels"])
    np.testing.assert_allclose(found, expected["probabilities"], rtol=0, atol=2e-5)


def test_norms_come_back_as_norms_that_change_nothing(written, tmp_path):
    """In float32 weight / sqrt(variance + epsilon) is exactly 1, so that the kernels are the file's own."""
    ported = porter.port(written / "keras_mobilenetv2_035_float32.tflite", tmp_path / "out.safetensors")
    found = load_file(ported.out)
    epsilon = np.float32(ported.plan.bn_eps)

    variances = [value for name, value in found.items() if name.endswith("running_var")]
    assert len(variances) == 52
    assert all((value + epsilon == np.float32(1)).all() for value in variances)
    assert all((found[name] == 0).all() for name in found if name.endswith("running_mean"))
    assert (found["bn1.weight"] == 1).all()
    assert found["bn1.bias"].any()
    assert any("part of the convolutions" in note for note in ported.plan.notes)


def test_folded_port_holds_the_kernels_of_the_file(written, tmp_path):
    """--fold-bn takes the identity norms out again, and rounds nothing."""
    source = written / "keras_mobilenetv1_025_int8.tflite"
    plain = porter.port(source, tmp_path / "plain.safetensors")
    folded = porter.port(source, tmp_path / "folded.safetensors", fold_bn=True)

    kernels, found = load_file(plain.out), load_file(folded.out)
    np.testing.assert_array_equal(found["conv_stem.weight"], kernels["conv_stem.weight"])
    np.testing.assert_array_equal(found["conv_stem.bias"], kernels["bn1.bias"])
    assert not [name for name in found if "running_var" in name]


def test_check_runs_the_file_in_its_interpreter(written):
    """Every operator with integers is within what their rounding explains, and float64 decides."""
    tables = porter.load_tables()
    checks = [Check(tables.variant(name), checkpoint=written / f"{name}_int8.tflite") for name in CHECKED]

    for checked in check_all_against_tensorflow(checks):
        assert checked.report.verdict is Verdict.PARITY
        assert any("its interpreter agrees operator by operator" in note for note in checked.report.notes)


@pytest.mark.parametrize("name", CORAL)
def test_published_model_sees_the_same_in_every_image(real_checkpoints, tmp_path, name):
    """The likeliest of 1001 classes is that of the file's own 8-bit arithmetic, but for rounding.

    The smaller network's activations of 8 bits hold many images undecided: 0.145 for two classes each.
    """
    from PIL import Image

    source = real_checkpoints / "coral-tflite" / name
    ported = porter.port(source, tmp_path / "out.safetensors").out
    size = input_of(ported)["size"]
    files = [
        path for path in sorted((real_checkpoints / "images").iterdir()) if path.suffix in (".bmp", ".jpg")
    ]
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB").resize((size, size))) for path in files])
    np.save(tmp_path / "in.npy", pixels)
    run("run_tflite.py", source, tmp_path / "in.npy", tmp_path / "out.npy")

    assert len(files) >= 11
    expected, found = np.load(tmp_path / "out.npy"), probabilities(ported, pixels).argmax(1)
    likelihood = expected[np.arange(len(files)), found]
    assert (likelihood >= expected.max(1) - 0.03).all()
    assert (found == expected.argmax(1)).sum() >= (9 if "v1" in name else len(files))
