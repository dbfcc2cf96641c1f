"""What a source says of its images: their size, and the layers that prepare them."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors import safe_open
from warm_frameworks import run_with_tensorflow

import porter
from porter.cli.main import main
from porter.errors import PlanError
from porter.planning.ledger import Bucket

WRITER = Path(__file__).parent / "write_prepared_models.py"
PREPARED = ("rescaled", "two_steps", "adapted", "resized", "arithmetic", "by_channel", "caffe", "turned")
RAMP = np.arange(256)[:, None] / 255
OF_AN_OLD_KERAS = Path(__file__).parent.parent / "checkpoints" / "written_by_keras_2_12"


@pytest.fixture(scope="module", params=["tf_keras", "keras"])
def models(request, module_folder):
    """Return the folder where one generation of Keras wrote models that prepare their own images."""
    if find_spec(request.param) is None:
        pytest.skip(f"needs {request.param}")
    folder = module_folder(request.param)
    run_with_tensorflow(WRITER, request.param, folder)
    return folder


def saved(models, name, way):
    """Return the path of a model; skip where this Keras, or the writer, does not save it so."""
    path = models / f"{name}.{way}"
    if not path.exists():
        pytest.skip("not written in this way")
    return path


def stated(path):
    """Return what the metadata of a ported file say of its images."""
    with safe_open(path, "numpy") as file:
        return json.loads(file.metadata()["porter.input"])


@pytest.mark.tensorflow
@pytest.mark.parametrize("way", ["h5", "keras", "saved_model", "tflite"])
@pytest.mark.parametrize("name", PREPARED)
def test_layers_that_prepare_images_become_mean_and_std(models, tmp_path, name, way):
    """Every value from 0 to 255 becomes under the metadata's mean and std what Keras's layers make of it."""
    expected = np.load(models / "prepared.npz")[name]

    result = porter.port(saved(models, name, way), tmp_path / "out.safetensors")

    images = stated(result.out)
    prepared = (RAMP - images["mean"]) / images["std"]
    assert ("channel_order" in images) == (name in ("caffe", "turned"))
    if images.get("channel_order") == "bgr":
        prepared = prepared[:, ::-1]
    np.testing.assert_allclose(prepared, expected, rtol=0, atol=1e-6 * max(1, abs(expected).max()))  # float32
    assert images["size"] == 96
    said = [note for note in result.plan.notes if "mean and std are those" in note]
    assert len(said) == (name not in ("rescaled", "arithmetic"))  # theirs are the table's
    left_out = [line for line in result.plan.ledger if line.bucket is Bucket.LEFT_OUT]
    assert len(left_out) == (3 if name == "adapted" else 0)


@pytest.mark.tensorflow
@pytest.mark.parametrize("way", ["h5", "keras", "tflite"])
def test_images_that_the_model_resizes_reach_the_network_smaller(models, tmp_path, way):
    """The size in the metadata is the one behind the resizing, for PyTorch has none."""
    assert stated(porter.port(saved(models, "smaller", way), tmp_path / "out.safetensors").out)["size"] == 96


@pytest.mark.tensorflow
@pytest.mark.parametrize("way", ["h5", "keras", "tflite"])
@pytest.mark.parametrize(("name", "word"), [("cropped", "crop"), ("flipped", "")])
def test_what_moves_pixels_in_front_of_the_network_is_reported(models, tmp_path, name, word, way):
    """The port does not crop, nor flip as no augmentation would, and says so by the layer's name."""
    result = porter.port(saved(models, name, way), tmp_path / "out.safetensors")

    (note,) = [note for note in result.plan.notes if "in front of the network" in note]
    assert word in note
    assert "mean and std do not include" in note


@pytest.mark.tensorflow
@pytest.mark.parametrize("way", ["h5", "keras", "saved_model"])
def test_code_in_front_of_the_network_is_reported(models, tmp_path, way):
    """A Lambda is not read, and the port says so by name; the network behind it is compared all the same."""
    result = porter.port(saved(models, "lambda", way), tmp_path / "out.safetensors")

    (note,) = result.plan.notes
    assert note.startswith("own_code (Lambda)")
    assert "mean and std do not include" in note
    assert result.plan.network == "86 layers as the file's config says"


@pytest.mark.tensorflow
@pytest.mark.torch
@pytest.mark.parametrize("way", ["h5", "keras", "exported", "pb", "tflite"])
def test_images_without_an_axis_of_channels_are_taken(models, tmp_path, way):
    """A Reshape in front gives them their channel: the port takes images with one, and so does the check."""
    import torch

    reference = np.load(models / "grey.npz")

    result = porter.port(models / f"grey.{way}", tmp_path / "out.safetensors")

    images = stated(result.out)
    prepared = (reference["x"][:, None] / 255 - images["mean"][0]) / images["std"][0]
    with torch.inference_mode():
        found = porter.load_model(result.out)(torch.from_numpy(prepared.astype(np.float32))).softmax(-1)
    np.testing.assert_allclose(found.numpy(), reference["y"], rtol=0, atol=2e-5)  # float32
    assert not any("in front of the network" in note for note in result.plan.notes)
    assert any("96x64" in note for note in result.plan.notes)
    report = porter.check(checkpoint=models / f"grey.{way}")
    assert report.passed
    assert "TensorFlow ran the file's own network" in " ".join(report.text().split())


@pytest.mark.tensorflow
def test_size_of_the_images_may_be_chosen(models, tmp_path):
    """What a person says counts more than what the source says, in the metadata and in what is printed."""
    pytest.importorskip("torch", reason="needs torch")
    out = tmp_path / "out.safetensors"
    command = ["port-weights", str(models / "rescaled.keras"), str(out)]

    stored = CliRunner().invoke(main, command)
    assert "images    96x96 pixels (the input shape in the source's config)" in stored.output
    chosen = CliRunner().invoke(main, [*command, "--input-size", "128"])

    assert "images    128x128 pixels (chosen with --input-size)" in chosen.output
    assert stated(out)["size"] == 128
    assert porter.load_model(out).pretrained_cfg["input_size"] == (3, 128, 128)


def test_network_of_one_size_takes_no_other(tmp_path):
    """A vision transformer's position embeddings fix the size, so that another is refused."""
    from porter.planning.plan import plan
    from porter.recordings.random_checkpoint import RandomCheckpoint
    from porter.tables.shipped import load_tables

    tables = load_tables()
    checkpoint = RandomCheckpoint(tables.variant("garden_vit_tiny_patch16_224"), 0)

    assert (
        plan(checkpoint, tables, variant="garden_vit_tiny_patch16_224", input_size=224).input_spec.size == 224
    )
    with pytest.raises(PlanError) as caught:
        plan(checkpoint, tables, variant="garden_vit_tiny_patch16_224", input_size=256)

    assert caught.value.code == "plan/input-size"


@pytest.mark.parametrize(
    ("name", "size"),
    [("nested.full.h5", (8, 8)), ("sequential.full.h5", None), ("sequential.weights.h5", None)],
)
def test_config_of_an_old_keras_is_read(name, size):
    """A file that Keras 2.12 wrote tells the size of its images; one without images or config, none."""
    pytest.importorskip("h5py")
    with porter.open_checkpoint(OF_AN_OLD_KERAS / name) as checkpoint:
        assert checkpoint.stored_input.size == size
