"""Real pictures: prepared as the Garden does it, and seen alike by both networks."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from porter.cli.main import main
from porter.errors import ParityError
from porter.recordings.pictures import decode, prepare
from porter.tables.shipped import load_tables

SPEC = load_tables().variant("conv_small").input
GARDEN = """
import sys
import numpy as np, tensorflow as tf
from official.vision.dataloaders.classification_input import Parser
stored = np.load(sys.argv[1])
prepare = lambda picture: Parser.inference_fn(tf.constant(picture), [96, 96]).numpy()
np.savez(sys.argv[2], **{name: prepare(stored[name]) for name in stored.files})
"""


@pytest.fixture
def picture(tmp_path):
    """A picture file with edges and noise, wider than high."""
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (61, 83, 3), dtype=np.uint8)
    pixels[20:40] //= 4
    path = tmp_path / "noise.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.tensorflow
def test_preparation_equals_the_gardens(tmp_path):
    """Crop, resize and normalisation give the Garden's numbers to float32 rounding, up- and downscaled."""
    pytest.importorskip("official", reason="needs tf-models-official")
    rng = np.random.default_rng(1)
    shapes = [(61, 83), (300, 201), (96, 96), (110, 110), (32, 500)]
    pictures = {f"{h}x{w}": rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in shapes}
    np.savez(tmp_path / "in.npz", **pictures)
    command = [sys.executable, "-c", GARDEN, tmp_path / "in.npz", tmp_path / "out.npz"]
    subprocess.run(command, check=True, capture_output=True)

    expected = np.load(tmp_path / "out.npz")

    for name, picture in pictures.items():
        # values reach 2.6; an ulp there is 2.4e-7 and three roundings follow one another
        np.testing.assert_allclose(
            prepare(picture, SPEC, 96), expected[name], rtol=0, atol=1e-6, err_msg=name
        )


@pytest.mark.torch
@pytest.mark.tensorflow
def test_pictures_are_reported_apart_with_best_classes(picture):
    """Both networks name the same classes with the same probability; preparation has figures of its own."""
    pytest.importorskip("official", reason="needs tf-models-official")
    arguments = ["parity-check", "--variant", "conv_small", "--image", picture, "--size", "96", "--json"]

    result = CliRunner().invoke(main, [str(a) for a in arguments])

    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)["pictures"]
    assert found["file"] == "noise.png"
    assert found["source_difference"] < 1e-6  # a PNG has one decoding
    assert found["target_difference"] > 0.01  # timm filters when it scales, the Garden does not
    assert [g["index"] for g in found["expected"]] == [g["index"] for g in found["actual"]]
    probabilities = [[g["probability"] for g in found[side]] for side in ("expected", "actual")]
    np.testing.assert_allclose(*probabilities, atol=1e-5)


@pytest.mark.torch
def test_file_that_is_no_picture_is_named(tmp_path):
    """A text file is refused before any framework starts."""
    path = tmp_path / "cat.jpg"
    path.write_text("miaow")

    with pytest.raises(ParityError, match=r"cat\.jpg: cannot be read as a picture"):
        decode(path)
