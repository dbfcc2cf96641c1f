"""Every MobileNetV4 x every way in which TensorFlow saves it: ported bit by bit, loaded strictly by timm."""

from __future__ import annotations

import numpy as np
import pytest
from garden_checkpoints import TABLES, ways
from safetensors.numpy import load_file

import porter
from porter.planning.ledger import Bucket

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]


def cases():
    """Yield (variant, way) for every way in which TensorFlow can save the variant."""
    for name, variant in TABLES.variants.items():
        if name.startswith("mobilenetv4_") and not variant.twin:
            yield from ((name, way) for way in ways(name))


@pytest.mark.parametrize(("name", "way"), list(cases()))
def test_port_is_bit_exact_and_loads_strictly(garden, tmp_path, name, way):
    """Every target tensor is TensorFlow's own variable after the layout change, and timm takes them all."""
    import timm
    import torch

    folder = garden(name)
    variant = TABLES.variants[name]
    expected = np.load(folder / "expected.npz")

    result = porter.port(next_source(folder / way), tmp_path / "out.safetensors")

    assert result.plan.variant.name == name
    assert not [line for line in result.plan.ledger if line.bucket is Bucket.REFUSED]
    assert result.report.findings == ()
    found = load_file(result.out)
    entries = [e for e in variant.entries if way != "backbone" or e.part == "backbone"]
    assert set(found) == {e.target for e in entries} | {
        a.target for a in result.plan.assignments if not a.parts
    }
    for entry in entries:
        value = _expected(expected, variant.full_source(entry), averaged=way == "optimizer")
        np.testing.assert_array_equal(
            entry.layout.apply(value).view(np.uint32), found[entry.target].view(np.uint32), entry.target
        )
    model = eval(result.loading_line, {"timm": timm})  # noqa: S307 (the very line that users are told to run)
    state = model.state_dict()
    assert set(state) == set(found)
    assert all(torch.equal(state[key], torch.from_numpy(value)) for key, value in found.items())


def next_source(folder):
    """Return what a person would type: the SavedModel, the prefix, or the training directory."""
    weights = folder / "weights"
    return weights if weights.with_suffix(".index").exists() else folder


def _expected(expected, path, *, averaged):
    key = f"average:{path}"
    return expected[key] if averaged and key in expected.files else expected[path]


def test_raw_weights_are_read_on_request(garden, tmp_path):
    """``weights="raw"`` reads the variables although averages are there."""
    folder = garden("mobilenetv4_conv_small")
    expected = np.load(folder / "expected.npz")

    porter.port(folder / "optimizer", tmp_path / "out.safetensors", weights="raw")

    found = load_file(tmp_path / "out.safetensors")["conv_stem.weight"]
    raw = expected["layer_with_weights-0/layer_with_weights-0/_conv0/kernel"]
    np.testing.assert_array_equal(raw.transpose(3, 2, 0, 1), found)


def test_load_model_restores_arguments_and_preprocessing(garden, tmp_path):
    """One line gives the network in eval mode, with the epsilon, the classes and the source's images."""
    folder = garden("mobilenetv4_conv_small")
    porter.port(folder / "model", tmp_path / "out.safetensors", bn_eps=1e-6)

    model = porter.load_model(tmp_path / "out.safetensors")

    assert not model.training
    assert model.num_classes == 11
    assert {module.eps for module in model.modules() if hasattr(module, "running_var")} == {1e-6}
    assert model.pretrained_cfg["interpolation"] == "bilinear"
    assert model.pretrained_cfg["input_size"] == (3, 224, 224)


def test_metadata_names_the_source_and_is_the_same_every_time(garden, tmp_path):
    """Two ports of one checkpoint are the same file to the last byte, with the source's digest inside."""
    import hashlib
    import json

    from safetensors import safe_open

    folder = garden("mobilenetv4_conv_small")
    outs = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for out in outs:
        porter.port(folder / "model", out)

    assert outs[0].read_bytes() == outs[1].read_bytes()
    with safe_open(outs[0], "numpy") as file:
        metadata = file.metadata()
    files = {entry["name"]: entry for entry in json.loads(metadata["porter.source_files"])}
    index = folder / "model" / "ckpt-1.index"
    assert files["ckpt-1.index"]["sha256"] == hashlib.sha256(index.read_bytes()).hexdigest()
    assert files["ckpt-1.index"]["size"] == index.stat().st_size
    assert metadata["porter.variant"] == metadata["porter.model"] == "mobilenetv4_conv_small"
    assert json.loads(metadata["porter.arguments"])["pad_type"] == "same"
