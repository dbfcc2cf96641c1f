"""RegNet and ResNet-RS of tf_keras: whole, with a head, cut, and as a converter leaves them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from warm_frameworks import run_with_tensorflow

import porter

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

FILES = [
    ("regnety_whole.keras", "keras_regnety002"),
    ("regnety_whole.tflite", "keras_regnety002"),
    ("regnety_maps.h5", "keras_regnety002"),
    ("regnety_cut.tflite", "keras_regnety002"),
    ("resnetrs_nested.h5", "keras_resnetrs50"),
    ("resnetrs_cut.keras", "keras_resnetrs50"),
]


@pytest.fixture(scope="module")
def written(module_folder):
    """Let tf_keras write every model once."""
    if find_spec("tf_keras") is None:  # importing it here would bring TensorFlow into timm's process
        pytest.skip("needs tensorflow and tf-keras")
    folder = module_folder("regnets")
    run_with_tensorflow(Path(__file__).with_name("write_regnets.py"), folder)
    return folder


def prepared(result, pixels):
    """Return pixels in 0..255 (N, H, W, C) as the metadata of a port says, (N, C, H, W)."""
    import torch

    images = result.plan.input_spec
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (images.mean, images.std))
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std


@pytest.mark.parametrize(("file", "variant"), FILES)
def test_port_answers_pixels_as_the_model_does(written, tmp_path, file, variant):
    """With the mean and std of the metadata, too: the converter multiplies RegNet's 1/255 into its stem."""
    torch = pytest.importorskip("torch")
    chosen = variant if "resnetrs_cut" in file else None  # it is the first part of larger ones as well
    result = porter.port(written / file, tmp_path / "out.safetensors", variant=chosen)
    with torch.no_grad():
        found = porter.load_model(result.out)(prepared(result, np.load(written / "x.npy")))
    found = [each.numpy() for each in (found if isinstance(found, tuple) else (found,))]
    found = [np.moveaxis(each, 1, -1) for each in found]
    stored = np.load(written / f"{file.partition('.')[0]}.npz")
    wanted = [stored[name] for name in stored.files]

    assert result.plan.variant.name == variant
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert np.abs(ours - theirs).max() < 2e-5 * np.abs(theirs).max()


def test_scaling_in_the_first_weights_is_said(written):
    """Pixels go in as they are, and a note says why."""
    plan = porter.plan(written / "regnety_whole.tflite")

    assert plan.input_spec.mean == (0, 0, 0)
    assert plan.input_spec.std == (1 / 255,) * 3
    assert [note for note in plan.notes if "is made for pixels in 0..255" in note]
    assert not [note for note in plan.notes if "nothing in the source confirms" in note]
