"""Real images: prepared as the Garden does it, and seen alike by both networks."""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import pytest
from click.testing import CliRunner
from warm_frameworks import run_with_tensorflow

from porter.cli.main import main
from porter.errors import ParityError
from porter.recordings.images import decode, prepare
from porter.tables.shipped import load_tables

Image = pytest.importorskip("PIL.Image", reason="needs the [torch] extra")

SPEC = load_tables().variant("conv_small").input
KERAS = """
import sys
import numpy as np
from porter.planning.plan import plan
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.runners.builders import Preparation, build
from porter.runners.builders.keras import SOURCE
from porter.runners.decoding import decoded_image
from porter.tables.shipped import load_tables
image, out, *names = sys.argv[1:]
tables, found = load_tables(), {}
for name in names:
    checkpoint = RandomCheckpoint(tables.variant(name), 0)
    made = plan(checkpoint, tables, variant=name)
    source = made.variant.source
    network = build(source.name, source.arguments, bn_eps=1e-3, classes=5, channels=3, size=(64, 64))
    preparation = Preparation(64, source.arguments, network, made.input_spec, checkpoint, False)
    found[name] = SOURCE.prepare(decoded_image(open(image, 'rb').read()), preparation)
np.savez(out, **found)
"""
# Of each kind of preprocessing one: scaled outside, BGR, scaled inside, a layer with values, constants.
KERAS_NETWORKS = (
    "keras_mobilenetv1_025",
    "keras_resnet50",
    "keras_mobilenetv3_small_100",
    "keras_efficientnet_b0",
    "keras_efficientnetv2_b0",
)
MOBILENET = "keras-mnv1-025-128-imagenet/Content/H5Files/mobilenet_2_5_128_tf.h5"
GARDEN = """
import sys
import numpy as np, tensorflow as tf
from official.vision.dataloaders.classification_input import Parser
stored = np.load(sys.argv[1])
prepare = lambda image: Parser.inference_fn(tf.constant(image), [96, 96]).numpy()
np.savez(sys.argv[2], **{name: prepare(stored[name]) for name in stored.files})
"""


@pytest.fixture
def image(tmp_path):
    """An image file with edges and noise, wider than high."""
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
    images = {f"{h}x{w}": rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in shapes}
    np.savez(tmp_path / "in.npz", **images)
    run_with_tensorflow(GARDEN, tmp_path / "in.npz", tmp_path / "out.npz")

    expected = np.load(tmp_path / "out.npz")

    assert sorted(expected) == sorted(images)
    for name, image in images.items():
        # values reach 2.6; an ulp there is 2.4e-7 and three roundings follow one another
        np.testing.assert_allclose(prepare(image, SPEC, 96), expected[name], rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.tensorflow
def test_preparation_equals_that_of_keras(tmp_path, image):
    """What goes into porter's network is what Keras's preprocess_input and first layers make of an image."""
    if find_spec("tf_keras") is None:  # importing it here would bring TensorFlow into timm's process
        pytest.skip("needs tensorflow and tf-keras")
    run_with_tensorflow(KERAS, image, tmp_path / "out.npz", *KERAS_NETWORKS)

    expected = np.load(tmp_path / "out.npz")

    for name in KERAS_NETWORKS:
        spec = load_tables().variant(name).input
        scale = np.abs(expected[name]).max()  # ResNet's pixels reach 150
        assert scale > 0.9
        np.testing.assert_allclose(
            prepare(decode(image), spec, 64) / scale,
            expected[name] / scale,
            rtol=0,
            atol=1e-6,
            err_msg=name,
        )


def test_other_interpolation_is_refused(image):
    """Nearest neighbours would be another image, so that nothing is prepared."""
    with pytest.raises(ParityError, match=r"expected bilinear or bicubic, found nearest"):
        prepare(decode(image), SPEC._replace(interpolation="nearest"), 96)


@pytest.mark.torch
@pytest.mark.tensorflow
def test_official_network_sees_a_macaw_on_both_sides(real_checkpoints):
    """ImageNet's weights of Keras: the same five names from TensorFlow and PyTorch, for every image."""
    pytest.importorskip("h5py")
    folder = real_checkpoints / "images"
    images = [p for p in sorted(folder.iterdir()) if p.suffix in (".jpg", ".bmp")]
    arguments = ["parity-check", "--checkpoint", real_checkpoints / MOBILENET, "--size", "128"]
    arguments += [word for path in images for word in ("--image", path)]

    result = CliRunner().invoke(main, [str(a) for a in [*arguments, "--json"]])

    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["verdict"] == "parity"
    assert "names of classes: ImageNet's 1000 classes" in document["notes"]
    found = {image["file"]: image for image in document["images"]}
    assert len(found) == len(images) >= 10
    for file, seen in found.items():
        assert [g["label"] for g in seen["expected"]] == [g["label"] for g in seen["actual"]], file
        assert seen["probability_difference"] <= 1e-5
        # a BMP has one decoding; decoders of JPEG differ, by up to 28 of 255 at the edges of these images
        assert seen["source_difference"] < (1e-6 if file.endswith("bmp") else 0.25), file
    best = found["parrot.jpg"]["expected"][0]
    assert (best["index"], best["label"]) == (88, "macaw")


@pytest.mark.torch
@pytest.mark.tensorflow
def test_images_are_reported_apart_with_best_classes(image):
    """Both networks name the same classes with the same probability; preparation has figures of its own."""
    pytest.importorskip("official", reason="needs tf-models-official")
    arguments = ["parity-check", "--variant", "conv_small", "--image", image, "--size", "96", "--json"]

    result = CliRunner().invoke(main, [str(a) for a in arguments])

    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)["images"]
    assert found["file"] == "noise.png"
    assert found["source_difference"] < 1e-6  # a PNG has one decoding
    assert found["target_difference"] > 0.01  # timm filters when it scales, the Garden does not
    assert [g["index"] for g in found["expected"]] == [g["index"] for g in found["actual"]]
    probabilities = [[g["probability"] for g in found[side]] for side in ("expected", "actual")]
    np.testing.assert_allclose(*probabilities, atol=1e-5)
    assert 0 < found["probability_difference"] <= 1e-5


@pytest.mark.torch
def test_file_that_is_no_image_is_named(tmp_path):
    """A text file is refused before any framework starts."""
    path = tmp_path / "cat.jpg"
    path.write_text("miaow")

    with pytest.raises(ParityError, match=r"cat\.jpg: cannot be read as an image"):
        decode(path)
