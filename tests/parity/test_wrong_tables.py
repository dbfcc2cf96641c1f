"""A table that is wrong in one word fails the goldens of its network."""

from __future__ import annotations

from dataclasses import replace

import pytest

from porter.checks.goldens import verify_goldens
from porter.parity.golden_files import golden_path
from porter.parity.outcome import Verdict
from porter.recordings.recording import Recording
from porter.tables.shipped import load_tables, mappings_folder

pytestmark = pytest.mark.torch

FAULTS = {
    "gate constant": (
        "model_garden/mobilenet_v3",
        "garden_mobilenetv3_small_100",
        "scale = 1.00002, ",
        "",
        "blocks.0.0",
    ),
    "epsilon": (
        "model_garden/mobilenet_v1",
        "garden_mobilenetv1_050",
        "default = 1e-3",
        "default = 1e-5",
        "stem",
    ),
    "linear block of V3": (
        "model_garden/mobilenet_edgetpu",
        "garden_mobilenetv3_edgetpu",
        'adjust = ["linear_first_block"]',
        "adjust = []",
        "blocks.0.0",
    ),
    "activation of one block": (
        "model_garden/mobilenet_multi",
        "garden_mobilenet_multi_max",
        '"ir_r1_k5_s2_e6_c64"',
        '"ir_r1_k5_s2_e6_c64_nhs"',
        "blocks.1.0",
    ),
    "inner activation": (
        "model_garden/efficientnet",
        "garden_efficientnet_b0",
        'adjust = ["relu_in_squeeze_excite"]',
        "adjust = []",
        "blocks.0.0",
    ),
    "padding": ("model_garden/resnet", "garden_resnet50", '["same_padding"]', "[]", "stem"),
    "shortcut": (
        "model_garden/resnet",
        "garden_resnet50d",
        '["same_padding", "same_pool_in_first_shortcut"]',
        '["same_padding"]',
        "layer1.0",
    ),
    "activation": (
        "model_garden/vit",
        "garden_vit_tiny_patch16_224",
        'act_layer = "gelu_tanh"',
        'act_layer = "gelu"',
        "blocks.0",
    ),
    "order of heads": (
        "model_garden/vit",
        "garden_vit_tiny_patch16_224",
        "h k d -> d (h k)",
        "h k d -> d (k h)",
        "blocks.0",
    ),
    "linear block": (
        "edgetpu/mobilenet_edgetpu_v2",
        "edgetpu_mobilenet_v2_m",
        'adjust = ["linear_first_block"]',
        "adjust = []",
        "blocks.0.0",
    ),
    "epsilon of slim": (
        "slim/mobilenet_v1",
        "slim_mobilenetv1_025",
        "default = 1e-3",
        "default = 1e-5",
        "stem",
    ),
    "activation of slim's first block": (
        "slim/mobilenet_v2",
        "slim_mobilenetv2_130",
        '"ds_r1_k3_s1_c24"',
        '"ds_r1_k3_s1_c24_nre"',
        "blocks.0.0",
    ),
    "gate constant of slim": (
        "slim/mobilenet_v3",
        "slim_mobilenetv3_small_100",
        "scale = 1.00002, ",
        "",
        "blocks.0.0",
    ),
    "epsilon of TensorFlow 1": (
        "tpu/efficientnet",
        "tpu_efficientnet_b0",
        "default = 1e-3",
        "default = 1e-5",
        "stem",
    ),
    "padding of TensorFlow 1": (
        "tpu/efficientnet_edgetpu",
        "tpu_efficientnet_es",
        'arguments = { pad_type = "same" }',
        'arguments = { pad_type = "" }',
        "stem",
    ),
    "padding of EfficientNetV2": (
        "automl/efficientnet_v2",
        "automl_efficientnetv2_b0",
        'arguments = { pad_type = "same" }',
        'arguments = { pad_type = "" }',
        "stem",
    ),
    "skip that the original does not have": (
        "tpu/mnasnet",
        "tpu_mnasnet_small",
        "ds_r1_k3_s1_c8_noskip",
        "ds_r1_k3_s1_c8",
        "blocks.0.0",
    ),
    "factor on half of a convolution": (
        "tpu/mixnet",
        "tpu_mixnet_s",
        '"conv2d{+project_first_half}" = { target = "conv_pwl.0"',
        '"conv2d{+project_first_half}" = { target = "conv_pwl.0", scale = 1.001',
        "blocks.1.0",
    ),
    "no blur": (
        "model_garden/mobilenet_v4_antialiased",
        "mobilenetv4_conv_blur_medium",
        'model = "mobilenetv4_conv_blur_medium"',
        'model = "mobilenetv4_conv_medium"',
        "blocks.0.0",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_word_is_found_at_its_stage(tmp_path, fault):
    """The check fails, and the first stage that it names is the one that the word is about."""
    pytest.importorskip("timm", reason="needs timm")
    table, name, old, new, stage = FAULTS[fault]
    text = (mappings_folder() / f"{table}.toml").read_text()
    assert old in text
    (tmp_path / "t.toml").write_text(text.replace(old, new))
    tables = load_tables(tmp_path / "t.toml")
    golden = Recording.load(golden_path(tables.variants[name]))
    provenance = replace(golden.provenance, table_digest=tables.variants[name].digest)
    Recording(provenance, golden.runs).save(tmp_path / "golden.safetensors")

    report = verify_goldens([tmp_path / "golden.safetensors"], tables)[0].report

    assert report.verdict is Verdict.NO_PARITY
    assert report.first_bad_stage == stage
