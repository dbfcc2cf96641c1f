"""Moving averages wherever an optimizer keeps them, and checkpoints that are lists of variables."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from warm_frameworks import run_with_tensorflow

import porter
from porter.errors import PlanError

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

WRITER = Path(__file__).parent / "write_averages.py"
LIMIT = 2e-5
EVERYWHERE = ["model.keras", "model.weights.h5", "objects", "list"]


@pytest.fixture(scope="module", params=["tf_keras", "keras"])
def trained(request, module_folder):
    """Return the folder where one generation of Keras wrote models in training."""
    if find_spec(request.param) is None:
        pytest.skip(f"needs {request.param}")
    folder = module_folder(request.param)
    run_with_tensorflow(WRITER, request.param, folder)
    return folder


def distance(path, tmp_path, weights, answer):
    """Port `path`; return how far its answer is from the model's, raw or averaged, and what was read."""
    import torch

    result = porter.port(path, tmp_path / "out.safetensors", weights=weights)
    with np.load(path.parent / "answers.npz") as answers:
        image, expected = answers["x"], answers[answer]
    with torch.no_grad():
        found = porter.load_model(result.out)(torch.from_numpy(image.transpose(0, 3, 1, 2).copy())).numpy()
    return np.abs(found - expected).max(), result.plan.weights


@pytest.mark.parametrize("file", ["model.h5", *EVERYWHERE])
def test_averages_are_read_by_default(trained, tmp_path, file):
    """The port answers as the model does after its optimizer has given it the averages; raw as before."""
    path = trained / "adam" / file

    averaged, read = distance(path, tmp_path, "auto", "ema")
    assert (read, averaged < LIMIT) == ("ema", True)
    (tmp_path / "out.safetensors").unlink()
    plain, read = distance(path, tmp_path, "raw", "raw")
    assert (read, plain < LIMIT) == ("raw", True)
    with np.load(path.parent / "answers.npz") as answers:
        assert np.abs(answers["raw"] - answers["ema"]).max() > 100 * LIMIT


@pytest.mark.parametrize("file", ["model.h5", "objects"])
def test_averages_of_wrapping_optimizers_are_read(trained, tmp_path, file):
    """Slots called "average", as MovingAverage and SWA of TensorFlow Addons have them."""
    path = trained / "wrapped" / file
    if not path.parent.exists():
        pytest.skip("Keras 3 has no such optimizers")

    averaged, read = distance(path, tmp_path, "auto", "ema")

    assert (read, averaged < LIMIT) == ("ema", True)


@pytest.mark.parametrize("file", EVERYWHERE)
def test_momentum_is_not_taken_for_an_average(trained, tmp_path, file):
    """An optimizer with one slot per variable has the shapes of averages, and they are not."""
    plain, read = distance(trained / "momentum" / file, tmp_path, "auto", "raw")

    assert (read, plain < LIMIT) == ("raw", True)


@pytest.mark.parametrize("file", ["model.keras", "objects"])
def test_frozen_layers_have_no_average(trained, tmp_path, file):
    """The optimizer lists what trains alone; the other variables are read as they are."""
    averaged, read = distance(trained / "frozen" / file, tmp_path, "auto", "ema")

    assert (read, averaged < LIMIT) == ("ema", True)


@pytest.mark.parametrize("file", EVERYWHERE)
def test_averages_that_have_not_begun_are_not_read(trained, tmp_path, file):
    """Before the first step Keras 3 holds zeros in their places."""
    plain, _ = distance(trained / "untrained" / file, tmp_path, "auto", "raw")

    assert plain < LIMIT


@pytest.mark.parametrize("file", ["two_lists", "joined_list"])
def test_lists_of_variables_are_read_by_full_names(trained, tmp_path, file):
    """Trainable variables and the others, in two lists or one behind the other."""
    plain, _ = distance(trained / "momentum" / file, tmp_path, "auto", "raw")

    assert plain < LIMIT


@pytest.mark.parametrize("file", ["two_lists", "joined_list"])
def test_list_of_a_partly_frozen_model_is_refused(trained, tmp_path, file):
    """Frozen layers come behind the others there, so nothing tells their places."""
    with pytest.raises(PlanError):
        porter.port(trained / "frozen" / file, tmp_path / "out.safetensors")


def test_file_without_an_optimizer_says_so(trained, tmp_path):
    """That there is no average is not said of a file that does not store the optimizer."""
    with pytest.raises(PlanError, match="no optimizer is stored") as caught:
        porter.port(trained / "adam" / "alone.weights.h5", tmp_path / "out.safetensors", weights="ema")

    assert caught.value.code == "plan/no-average"
