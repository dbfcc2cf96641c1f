"""AudioSet's YAMNet: MobileNetV1 on spectrograms, whose norms have no gamma and whose names have slashes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from warm_frameworks import run_with_tensorflow

import porter

WRITER = Path(__file__).parent / "write_yamnet.py"

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]


@pytest.fixture(scope="module")
def written(module_folder):
    """Return the folder where the network was written."""
    folder = module_folder("yamnet")
    run_with_tensorflow(WRITER, folder)
    return folder


@pytest.mark.parametrize("file", ["weights.h5", "full.h5", "saved", "waveform"])
def test_its_files_answer_as_the_model_does(written, tmp_path, file):
    """A norm without gamma has a gamma of one, and the metadata says that several classes may hold."""
    import torch

    reference = np.load(written / "reference.npz")

    result = porter.port(written / file, tmp_path / "out.safetensors")
    model = porter.load_model(result.out)
    with torch.inference_mode():
        found = model(torch.from_numpy(reference["x"][:, None])).sigmoid().numpy()

    assert result.plan.variant.name == "yamnet"
    np.testing.assert_allclose(found, reference["y"], rtol=0, atol=2e-5)  # float32
    with safe_open(result.out, "np") as written_file:
        metadata = written_file.metadata()
    assert metadata["porter.classifier_activation"] == "sigmoid"
    assert json.loads(metadata["porter.arguments"])["num_classes"] == 521
    assert json.loads(metadata["porter.input"])["mean"] == [0.0]  # nothing of how the spectrogram is made
    in_front = [note for note in result.plan.notes if "in front of the network" in note]
    assert len(in_front) == (file == "waveform")


@pytest.mark.parametrize(
    ("file", "ran"),
    [
        ("weights.h5", "TensorFlow ran yamnet.network"),
        ("full.h5", "TensorFlow ran the file's own network"),
        ("waveform", "it ran yamnet.network, as the table describes it"),
    ],
)
def test_the_check_runs_what_takes_spectrograms(written, file, ran):
    """The file's own network gets patches without an axis of channels; one of waveforms is not run."""
    report = porter.check(checkpoint=written / file)

    assert report.passed
    assert ran in " ".join(report.text().split())
