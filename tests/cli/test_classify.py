"""`porter classify`: the images, the labels, and a real macaw."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file

from porter.cli.main import main
from porter.errors import OutputError, ParityError
from porter.loading.labels import imagenet_labels, read_labels
from porter.loading.ported_file import read_metadata
from porter.outputs.metadata import describe
from porter.planning.plan import plan
from porter.recordings.images import decode
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables
from porter.transfer.transfer import transfer

pytestmark = pytest.mark.torch
pytest.importorskip("timm", reason="needs timm")
Image = pytest.importorskip("PIL.Image", reason="needs the [torch] extra")
REAL = os.environ.get("PORTER_REAL_CHECKPOINTS")


def run(*arguments):
    """Call ``porter classify``."""
    return CliRunner().invoke(main, ["classify", *map(str, arguments)])


@pytest.fixture(scope="module")
def ported(module_folder):
    """Return a function from a number of classes to a ported conv_small with seeded weights."""
    tables, folder = load_tables(), module_folder("ported")
    variant = tables.variant("conv_small")

    checkpoint = RandomCheckpoint(variant, 0)
    made = plan(checkpoint, tables, variant=variant.name)
    metadata = describe(made, checkpoint.format, None)
    whole = folder / "1000.safetensors"
    transfer(checkpoint, made.assignments, whole, metadata=metadata)

    def file(classes):
        path = folder / f"{classes}.safetensors"
        if not path.exists():
            tensors = load_file(whole)
            for name in ("classifier.weight", "classifier.bias"):
                tensors[name] = np.resize(tensors[name], (classes, *tensors[name].shape[1:]))
            arguments = json.dumps({**json.loads(metadata["porter.arguments"]), "num_classes": classes})
            save_file(tensors, path, {**metadata, "porter.arguments": arguments})
        return path

    return file


@pytest.fixture(scope="module")
def image(module_folder):
    """Return an image file of noise, wider than high."""
    path = module_folder("pictures") / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (230, 300, 3), np.uint8)).save(path)
    return path


def test_best_classes_are_those_of_the_loaded_network(ported, image):
    """Classes and probabilities are the softmax of the model on the image as the source prepares it."""
    import torch

    import porter
    from porter.recordings.images import decode, prepare

    path = ported(1000)
    best = json.loads(run(path, image, "--json").stdout)["images"][0]["best"]
    prepared = prepare(decode(image), load_tables().variant("conv_small").input, 224)
    with torch.no_grad():
        logits = porter.load_model(path)(torch.from_numpy(prepared.transpose(2, 0, 1))[None])[0]
    expected = logits.double().softmax(0).topk(5)

    assert [guess["number"] for guess in best] == expected.indices.tolist()
    np.testing.assert_allclose([guess["probability"] for guess in best], expected.values, rtol=1e-6)
    assert best[0]["label"] == imagenet_labels(1000).names[best[0]["number"]]


def test_every_image_has_five_lines(ported, image):
    """The text names network, preparation and labels, then each image and its classes."""
    result = run(ported(1000), image, image)

    assert result.exit_code == 0
    assert "mobilenetv4_conv_small" in result.stdout
    assert "224x224" in result.stdout
    assert result.stdout.count(str(image)) == 2
    assert result.stdout.count("%") == 10


def test_background_class_shifts_the_labels_and_is_shown():
    """Class n of 1001 is ImageNet's n - 1; what was done is said."""
    labels = imagenet_labels(1001)

    assert (labels.name(0), labels.name(89)) == ("background", "macaw")
    assert imagenet_labels(1000).name(88) == "macaw"
    assert "n - 1" in labels.source


def test_command_shows_the_shift(ported, image):
    """A network of 1001 classes says that its first is background."""
    assert "class 0 is background" in run(ported(1001), image).stdout


def test_a_folder_is_seen_in_batches_and_what_is_no_image_is_named(ported, image, tmp_path):
    """Grey, RGBA, palette, CMYK and 16 bits; every answer is that of the image alone."""
    noise = Image.open(image)
    for mode in ("L", "RGBA", "P", "CMYK"):
        noise.convert(mode).save(tmp_path / f"{mode}.{'jpg' if mode == 'CMYK' else 'png'}")
    Image.fromarray(np.asarray(noise.convert("L")).astype(np.uint16) << 8).save(tmp_path / "deep.png")
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    result = run(ported(10), tmp_path, image, "--json", "--batch", 4)
    found = {each["file"]: each for each in json.loads(result.stdout)["images"]}

    assert result.exit_code == 0
    assert len(found) == 7
    assert "cannot be read as an image" in found.pop(str(tmp_path / "broken.jpg"))["fault"]
    for file, seen in found.items():
        alone = json.loads(run(ported(10), file, "--json").stdout)["images"][0]["best"]
        assert [guess["number"] for guess in seen["best"]] == [guess["number"] for guess in alone]
        np.testing.assert_allclose(
            *([g["probability"] for g in best] for best in (seen["best"], alone)), rtol=1e-5
        )


def test_names_that_the_port_states_are_shown(ported, image, tmp_path):
    """They come before ImageNet's, and a file of the person's own before them."""
    stated = json.dumps({"names": [f"kind {n}" for n in range(10)], "source": "labels.txt in the source"})
    metadata = {**read_metadata(ported(10)).metadata, "porter.class_names": stated}
    save_file(load_file(ported(10)), tmp_path / "m.safetensors", metadata=metadata)
    (tmp_path / "own.txt").write_text("\n".join(f"own {n}" for n in range(10)))

    assert "kind " in run(tmp_path / "m.safetensors", image).stdout
    assert "own " in run(tmp_path / "m.safetensors", image, "--labels", tmp_path / "own.txt").stdout


def test_options_of_a_data_set_go_with_out(ported, image):
    """None is passed over in silence."""
    result = run(ported(10), image, "--workers", 2)

    assert result.exit_code == 2
    assert "--workers goes with --out" in result.stderr


def test_unreadable_images_among_others_are_listed(ported, image, tmp_path):
    """The others are shown all the same."""
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    result = run(ported(10), tmp_path / "broken.jpg", image)

    assert result.exit_code == 0
    assert result.stdout.count("%") == 5
    assert "unreadable  1 images" in result.stderr


@pytest.mark.parametrize(
    ("lines", "classes", "name", "said"),
    [
        (["0 cat", "1 dog", "2 10 pence"], 3, "cat", "labels.txt"),
        (["a", "b", "c"], 3, "a", "labels.txt"),
        (["Background", "a", "b", "c"], 3, "a", "without its first name"),
        (["a", "b"], 3, "background", "class 0 is background"),
    ],
)
def test_labels_of_ones_own_are_lined_up(tmp_path, lines, classes, name, said):
    """A file with or without a background class fits a network with or without one."""
    (tmp_path / "labels.txt").write_text("\n".join(lines) + "\n")
    labels = read_labels(tmp_path / "labels.txt", classes)

    assert labels.name(0) == name
    assert len(labels.names) == classes
    assert said in labels.source


@pytest.mark.parametrize(("text", "code"), [("a\nb\nc\nd\n", "labels/count"), (None, "labels/unreadable")])
def test_labels_that_do_not_fit_are_refused(tmp_path, text, code):
    """A file with another number of names, or none, is one clear error."""
    if text is not None:
        (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(OutputError) as caught:
        read_labels(tmp_path / "labels.txt", 3)

    assert caught.value.code == code


def test_classes_that_are_not_imagenets_have_numbers(ported, image):
    """Ten classes get no names of ImageNet's, and the command says how to give some."""
    result = run(ported(10), image)

    assert "give their names with --labels" in result.stdout
    assert "class " in result.stdout


def broken_png(good):
    """Return a PNG whose second chunk has no name that PNG knows."""
    at = good.index(b"IDAT")
    return good[:at] + b"\x1b\x8d\x0f\xfc" + good[at + 4 :]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.jpg", lambda _: b"no image"),
        ("x.png", broken_png),
        ("x.ppm", lambda _: b"P3\n2 2\n255\n40;40 1 2 3 4 5 6 7 8 9 10 11\n"),
    ],
)
def test_file_that_is_no_image_is_refused(ported, tmp_path, name, content):
    """One line, no traceback, whatever the decoder makes of it."""
    good = io.BytesIO()
    Image.new("RGB", (8, 8)).save(good, "PNG")
    (tmp_path / name).write_bytes(content(good.getvalue()))
    result = run(ported(10), tmp_path / name)

    assert result.exit_code == 1
    assert "[picture/unreadable]" in result.stderr


def test_grey_of_sixteen_bits_keeps_its_brightness(tmp_path):
    """Half of 65535 is half of 255, as TensorFlow's decoder has it; numbers without a range are refused."""
    Image.fromarray(np.full((4, 4), 32768, np.uint16)).save(tmp_path / "x.png")
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(tmp_path / "x.tiff")

    np.testing.assert_array_equal(decode(tmp_path / "x.png"), np.full((4, 4, 3), 128, np.uint8))
    with pytest.raises(ParityError, match="mode F"):
        decode(tmp_path / "x.tiff")


def test_answer_that_is_not_finite_is_refused(ported, image, tmp_path):
    """JSON has no NaN, and a probability that is none says nothing."""
    broken = load_file(ported(10))
    broken["classifier.bias"] = np.full_like(broken["classifier.bias"], np.nan)
    save_file(broken, tmp_path / "m.safetensors", metadata=dict(read_metadata(ported(10)).metadata))
    result = run(tmp_path / "m.safetensors", image, "--json")

    assert result.exit_code == 1
    assert "[classify/not-finite]" in result.stderr


def test_image_of_one_pixel_is_refused(ported, tmp_path):
    """The crop leaves nothing of it."""
    Image.new("RGB", (1, 1)).save(tmp_path / "x.png")
    result = run(ported(10), tmp_path / "x.png")

    assert result.exit_code == 1
    assert "[picture/too-small]" in result.stderr


@pytest.mark.skipif(not REAL, reason="PORTER_REAL_CHECKPOINTS is not set")
def test_macaw_is_a_macaw(tmp_path):
    """Official ImageNet weights, ported, see what is in the image."""
    source = Path(REAL) / "keras-mnv1-025-128-imagenet/Content/H5Files/mobilenet_2_5_128_tf.h5"
    out, labels = tmp_path / "o.safetensors", Path(REAL) / "images/imagenet_labels.txt"
    assert CliRunner().invoke(main, ["port-weights", str(source), str(out)]).exit_code == 0

    for options in ([], ["--labels", labels]):
        result = run(out, Path(REAL) / "images/parrot.jpg", "--json", *options)
        best = json.loads(result.stdout)["images"][0]["best"][0]
        assert (best["number"], best["label"]) == (88, "macaw")
