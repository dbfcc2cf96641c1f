"""Cut backbones and heads in frozen graphs and TensorFlow Lite models: the port computes what they do."""

from __future__ import annotations

import numpy as np
import pytest
from written_heads import written_heads

import porter

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

# What each comes to: where it is cut, and its head.
EXPECTED = {
    "both_pools": ("", "global_avg_max_pool, dense 3"),
    "cut_at_the_last_norm": ("inside conv_head, behind its bn2", "swish, global_avg_pool, dense 3"),
    "cut_pooled": ("behind blocks.3.1", "global_max_pool"),
    "dilated": ("behind blocks.6.0", ""),
    "dilated_whole": ("", ""),
    "encoder": ("inside blocks.5.0", ""),
    "flat_pixel": ("", "flatten, dense 8, relu, dense 3"),
    "gated": (
        "",
        "global_avg_pool, multiply of (as it is; dense 256, sigmoid), dense 3, prelu, unit_norm, identity",
    ),
    "several": ("behind blocks.4.1", ""),
    "vgg_encoder": ("behind features.34", ""),
}
FILES = ("frozen.pb", "model.tflite")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Every model as Keras 3 wrote it."""
    return written_heads("keras", tmp_path_factory)


def answers(ported, x):
    """Return every output of a port for images (N, H, W, C), with TensorFlow's axes."""
    import torch

    with torch.inference_mode():
        found = porter.load_model(ported)(torch.from_numpy(x.transpose(0, 3, 1, 2).astype("float32")))
    listed = found if isinstance(found, tuple | list) else (found,)
    return [(y.permute(0, 2, 3, 1) if y.ndim == 4 else y).numpy() for y in listed]


def furthest(source, ported, x=None):
    """Return the largest difference of any output from the model's own answers."""
    stored = np.load(source / "answer.npz")
    wanted = [stored[key] for key in stored if key[1:].isdecimal()]
    found = answers(ported, stored["x"] if x is None else x)
    assert [y.shape for y in found] == [y.shape for y in wanted]
    return max(np.abs(a - b).max() for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("name", EXPECTED)
def test_port_answers_as_the_model_does(written, tmp_path, name, file):
    """Every output in the source's order, in float32; the place and the head are named."""
    cut, head = EXPECTED[name]
    result = porter.port(written / name / file, tmp_path / "out.safetensors")

    assert (result.plan.cut.words if result.plan.cut else "").startswith(cut)
    assert bool(result.plan.cut) == bool(cut)
    assert result.plan.network.endswith(f"a head of its own: {head}" if head else " says")
    assert furthest(written / name, result.out) < 2e-5


def test_convnext_with_a_head_is_its_network_and_the_head(written, tmp_path):
    """Its last norm is a module that a cut ends with; the source prepares images."""
    source = written / "norm_nested"
    result = porter.port(source / "frozen.pb", tmp_path / "out.safetensors")

    assert result.plan.variant.name == "keras_convnext_tiny_no_top"
    assert result.plan.network.endswith("global_avg_pool, dense 6, relu, dense 3")
    images = result.plan.variant.input
    prepared = (np.load(source / "answer.npz")["x"] / 255 - images.mean) / images.std
    assert furthest(source, result.out, prepared) < 2e-5


def test_the_converter_s_own_unit_length_is_read(tmp_path_factory, tmp_path):
    """tf.math.l2_normalize is one operator of TensorFlow Lite."""
    source = written_heads("tf_keras", tmp_path_factory) / "gated"
    result = porter.port(source / "model.tflite", tmp_path / "out.safetensors")

    assert result.plan.network.endswith("prelu, unit_norm, identity")
    assert furthest(source, result.out) < 2e-5


def test_the_check_runs_cut_and_dilated_files_themselves(written):
    """In float64, up to where each of them ends."""
    sources = [written / "encoder" / "model.tflite", written / "dilated" / "frozen.pb"]

    for checked in porter.check_many(sources, dtypes=("float64",)):
        assert checked.passed
        assert any(note.startswith("TensorFlow ran the file's own network") for note in checked.outcome.notes)
