"""Source and port on the same images: what agrees, and which step makes a difference."""

from __future__ import annotations

import json
import shutil

import pytest
from agreement_rows import rows_of

import porter
from porter.errors import PorterError

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def sound(source, ported, images, module_folder):
    """The agreement of the port as it is."""
    out = module_folder("sound") / "out"
    return porter.agree(source, ported, images, out=out, engine=porter.Engine(batch=4))


def lossless(images, tmp_path):
    """Return a folder with the images that every decoder reads alike."""
    for path in images.rglob("*.png"):
        shutil.copy(path, tmp_path / path.name)
    return tmp_path


def test_a_sound_port_differs_by_its_decoder_only(sound, images):
    """Stored without loss, an image gives the same answer to float32; JPEGs are decoded by two decoders."""
    rows = rows_of(sound)

    assert [row.index for row in rows] == list(range(10))
    assert {row.key for row in rows} == {str(p.relative_to(images)) for p in images.rglob("*.*g")}
    assert all(row.difference < 1e-5 for row in rows if row.key.endswith("png"))
    assert all(max(row.network, row.resize) < 1e-5 for row in rows)
    assert sound.cause in (None, "decode")
    assert sound.top1 == 1
    assert all(len(row.source_best) == 5 and sum(row.source_probabilities) <= 1.0001 for row in rows)


def test_labels_give_the_accuracy_of_both(sound):
    """Folders that are called by numbers are the numbers of the classes."""
    counts, rows = sound.statistics.counts, rows_of(sound)

    assert counts["labelled"] == 10
    assert counts["source_right"] == sum(row.source_best[0] == int(row.label) for row in rows)
    assert "accuracy    source" in sound.text()


def test_the_report_is_text_json_and_a_page(sound):
    """Every figure is in each of them, and files hold the same."""
    document = json.loads(sound.json())

    assert json.loads((sound.rows.parent / "agreement.json").read_text()) == document
    assert document["images"] == 10
    assert document["top1_agreement"] == 1
    assert "the file's own network" in sound.text()
    assert "<html" in sound.html()
    assert "<iframe" in sound._repr_html_()
    assert len(repr(sound).splitlines()) == 1


WRONG = {
    "interpolation": {"interpolation": "bicubic"},
    "crop": {"crop_pct": 1.0},  # where the source cuts 0.875 out
    "mean": {"mean": [0.4, 0.4, 0.4]},
    "size": {"size": 96},
}


@pytest.mark.parametrize("error", WRONG)
def test_a_wrong_preparation_is_told_from_a_wrong_network(error, source, altered, images, tmp_path):
    """What the metadata state wrongly is found in crop and resize, whatever it is."""
    data = lossless(images, tmp_path)
    found = porter.agree(source, altered(**WRONG[error]), data, out=tmp_path / "out")

    assert found.cause == "resize", found.text()
    assert found.is_preprocessing
    assert found.statistics.mean("network") < 1e-5
    assert "the port prepares images differently" in found.text()


def test_a_wrong_order_of_colours_is_named(source, altered, images, tmp_path):
    """The weights take RGB and the metadata say BGR: a preparation error, not one of the network."""
    data = lossless(images, tmp_path)
    found = porter.agree(source, altered(channel_order="bgr"), data, out=tmp_path / "out")

    assert found.is_preprocessing
    assert "another order of colours" in found.verdict


def test_a_wrong_epsilon_is_the_networks(source, images, tmp_path):
    """The same pixels give other answers."""
    data = lossless(images, tmp_path)
    porter.port(source, tmp_path / "wrong.safetensors", bn_eps=0.3)
    found = porter.agree(source, tmp_path / "wrong.safetensors", data, out=tmp_path / "out")

    assert found.cause == "network", found.text()
    assert not found.is_preprocessing
    assert found.statistics.mean("resize") < 1e-5


def test_flips_are_shown_with_their_images(source, altered, images, tmp_path):
    """The page holds a picture of every flip, and the text names them."""
    found = porter.agree(source, altered(shifts_classes=True), images, out=tmp_path / "out")

    assert found.cause == "network"
    assert found.flips == found.statistics.images, found.text()
    assert found.html().count("data:image/jpeg;base64,") == found.flips
    assert found.statistics.largest_flips[0].key in found.text()


def test_two_workers_give_the_same_rows(sound, source, ported, images, tmp_path):
    """How the work is divided changes nothing, to the last digit."""
    other = porter.agree(
        source, ported, images, out=tmp_path / "out", engine=porter.Engine(workers=2, batch=4)
    )

    assert rows_of(other) == rows_of(sound)


def test_an_image_that_cannot_be_read_is_counted_and_named(source, ported, images, tmp_path):
    """The others are compared; what only one of the decoders reads is said to be so."""
    from PIL import Image

    (tmp_path / "data").mkdir()
    data = lossless(images, tmp_path / "data")
    first = next(iter(data.glob("*.png")))
    (data / "cut.png").write_bytes(first.read_bytes()[:200])
    (data / "nothing.jpg").write_bytes(b"")
    Image.open(first).save(data / "web.webp")
    Image.open(first).convert("CMYK").save(data / "cmyk.jpg")
    Image.open(first).convert("L").save(data / "grey.png")
    Image.open(first).crop((0, 0, 1, 1)).save(data / "dot.png")
    found = porter.agree(source, ported, data, out=tmp_path / "out")

    unusable = {row.key: row.fault for row in found.statistics.unusable}
    certain = {"cut.png", "nothing.jpg", "dot.png"}
    assert certain <= set(unusable) <= certain | {"web.webp", "cmyk.jpg"}
    assert all(unusable.values())
    assert found.statistics.counts["compared"] == found.statistics.images - len(unusable)
    assert "cut.png: " in found.text()


def test_a_port_of_another_network_is_refused(source, altered, images, tmp_path):
    """Before anything is compared."""
    other = altered(variant="keras_mobilenetv1_050")

    with pytest.raises(PorterError) as refused:
        porter.agree(source, other, images, out=tmp_path / "out")
    assert refused.value.code.startswith("plan/")


def test_folders_that_are_no_classes_give_no_accuracy(source, ported, images, tmp_path):
    """Two folders for five classes: no label is made up, and the report says what to give."""
    shutil.copytree(images / "0", tmp_path / "data" / "cat")
    shutil.copytree(images / "1", tmp_path / "data" / "dog")
    found = porter.agree(source, ported, tmp_path / "data", out=tmp_path / "out")

    assert found.statistics.counts["labelled"] == 0
    assert "--labels" in found.labels
    (tmp_path / "names").write_text("cat\ndog\nowl\nbird\nfish\n")
    named = porter.agree(source, ported, tmp_path / "data", out=tmp_path / "out", labels=tmp_path / "names")
    assert named.statistics.counts["labelled"] == 10


def test_a_port_of_other_files_is_noted(sound, source, ported, images, tmp_path):
    """The same network with other weights: the report says that the port is not of this source."""
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    with safe_open(ported, framework="numpy") as opened:
        metadata = dict(opened.metadata())
    (stated,) = json.loads(metadata["porter.source_files"])
    metadata["porter.source_files"] = json.dumps([{**stated, "sha256": "0" * 64}])
    save_file(load_file(ported), tmp_path / "other.safetensors", metadata)
    found = porter.agree(source, tmp_path / "other.safetensors", images, out=tmp_path / "out")

    assert "other.safetensors was ported from other files" in found.text()
    assert "was ported from other files" not in sound.text()


def test_a_port_with_several_outputs_is_refused_before_tensorflow_starts(
    source, altered, images, tmp_path, monkeypatch
):
    """Its port says so already; "no classifier", which TensorFlow's side says, would be wrong."""
    from porter.agreement import agreeing

    branch = [["linear", {"outputs": 3}]]
    several = altered(head=json.dumps([["branches", {"branches": [branch, branch]}]]))
    monkeypatch.setattr(agreeing, "LocalEngine", None)
    with pytest.raises(PorterError) as refused:
        porter.agree(source, several, images, out=tmp_path / "out")

    assert refused.value.code == "classify/several-outputs"
    assert not (tmp_path / "out").exists()


def test_a_frozen_graph_that_a_garden_network_stands_in_for_runs_itself(real_checkpoints, images, tmp_path):
    """Its own head is in the graph; the network that checks of the backbone stand in is not needed."""
    graph = real_checkpoints / "poets-frozen" / "retrained_graph.pb"
    porter.port(graph, tmp_path / "out.safetensors")
    found = porter.agree(
        graph, tmp_path / "out.safetensors", lossless(images, tmp_path), out=tmp_path / "out"
    )

    assert "the file's own network" in found.source.network
    assert found.statistics.quantiles("network")[1.0] < 1e-4


def test_a_network_that_tensorflow_cannot_run_is_refused_by_its_reason(real_checkpoints, images, tmp_path):
    """A TensorFlow.js model with a head that none of porter's builders has."""
    model = real_checkpoints / "nsfwjs-tfjs"
    porter.port(model, tmp_path / "out.safetensors")
    with pytest.raises(PorterError, match="cannot run the network that the source stores") as refused:
        porter.agree(model, tmp_path / "out.safetensors", images, out=tmp_path / "out")

    assert refused.value.code == "runner/own-head"
