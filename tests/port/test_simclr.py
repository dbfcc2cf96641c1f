"""ResNets of SimCLR: variables of TensorFlow 1 that are counted, a projection head beside the classifier."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from warm_frameworks import run_with_tensorflow

import porter
from porter.planning.ledger import Bucket

WRITER = Path(__file__).parent / "write_simclr.py"

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]


@pytest.fixture(scope="module")
def written(module_folder):
    """Return the folder where the network was written."""
    folder = module_folder("simclr")
    run_with_tensorflow(WRITER, folder)
    return folder


def answer(result, reference):
    """Return what the ported network answers to the reference's images."""
    import torch

    model = porter.load_model(result.out)
    with torch.inference_mode():
        return model(torch.from_numpy(reference["x"].transpose(0, 3, 1, 2).copy())).numpy()


@pytest.mark.parametrize(
    ("file", "wanted", "is_uncertain"),
    [("finetuned", "y", True), ("pretrained", "features", False), ("hub", "y", False)],
)
def test_its_files_answer_as_they_did(written, tmp_path, file, wanted, is_uncertain):
    """Heads of the loss and momenta are told, and the doubt about the classifier where nothing settles it."""
    reference = np.load(written / "reference.npz")

    result = porter.port(written / file, tmp_path / "out.safetensors")

    plan = result.plan
    assert plan.variant.name == "simclr_resnet50_1x"
    assert any("--ft_proj_selector" in note for note in plan.notes) is is_uncertain
    left_out = {line.key for line in plan.ledger if line.bucket is Bucket.LEFT_OUT}
    assert left_out
    assert all(key.startswith("head_contrastive/") for key in left_out)
    expected = reference[wanted]
    tolerance = 2e-5 * np.abs(expected).max()  # float32, 53 layers
    np.testing.assert_allclose(answer(result, reference), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("file", ["finetuned", "hub"])
def test_the_check_takes_what_the_source_is(written, file):
    """A SavedModel runs by itself; a checkpoint's values go into the network of the table."""
    report = porter.check(checkpoint=written / file)

    assert report.passed
    ran = " ".join(report.text().split())
    assert (
        "TensorFlow ran the file's own network" if file == "hub" else "TensorFlow ran simclr.resnet"
    ) in ran


def test_a_classifier_in_the_projection_head_is_another_network(written, tmp_path):
    """What a graph tells of the classifier counts: one behind a layer of the projection head is ported so."""
    reference = np.load(written / "reference.npz")

    result = porter.port(written / "projected", tmp_path / "out.safetensors")

    expected = reference["projected"]
    tolerance = 2e-5 * np.abs(expected).max()  # float32, 54 layers
    np.testing.assert_allclose(answer(result, reference), expected, rtol=0, atol=tolerance)
