import numpy as np
import pytest
from click.testing import CliRunner

from porter.checkpoints import open_checkpoint
from porter.cli.main import main
from porter.errors import CheckpointError

# Of published folders: what holds weights, by name or suffix, and what is refused by which code.
READABLE = {".index", ".h5", ".keras", ".tflite"}
DESCRIPTIONS = {"saved_model.pb", "saved_model.pbtxt"}
REFUSED = {
    ".meta": "checkpoint/meta-graph",
    "fingerprint.pb": "checkpoint/saved-model-metadata",
    "keras_metadata.pb": "checkpoint/saved-model-metadata",
    "graph.pbtxt": "checkpoint/text-graph",
    "run_meta": "checkpoint/unknown-format",
}
V1 = {"export", "export-00000-of-00001", "ckpt", "variables", "variables-00000-of-00001"}


def _files(folder):
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def test_every_published_file_with_weights_is_inspected(real_checkpoints):
    """`porter inspect` lists every checkpoint, SavedModel and Keras file, its network known or not."""
    pytest.importorskip("h5py")
    readable = [p for p in _files(real_checkpoints) if p.suffix in READABLE or p.name in DESCRIPTIONS | V1]

    failed = []
    for path in readable:
        run = CliRunner().invoke(main, ["inspect", str(path), "--json"])
        if run.exit_code != 0:
            failed.append(f"{path}: {run.output}")
    assert failed == []
    assert len(readable) >= 50


def test_every_other_published_file_is_refused_by_its_cause(real_checkpoints):
    """A graph without weights and metadata are called what they are."""
    codes = {}
    for path in _files(real_checkpoints):
        code = REFUSED.get(path.name, REFUSED.get(path.suffix))
        if code is not None:
            with pytest.raises(CheckpointError) as caught:
                open_checkpoint(path)
            codes[path] = code, caught.value.code
    assert {found for found in codes.values() if found[0] != found[1]} == set()
    assert len(codes) >= 10


@pytest.mark.parametrize(
    ("stand_in", "code"),
    [
        (b"", "checkpoint/empty-file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "checkpoint/git-lfs-pointer"),
        (b"<!DOCTYPE html><html></html>", "checkpoint/web-page"),
    ],
)
@pytest.mark.parametrize("name", ["model.h5", "model.keras", "frozen.pb", "model.weights.h5"])
def test_what_lies_in_the_place_of_a_file_is_named(tmp_path, name, stand_in, code):
    """A pointer, a web page or nothing where a Keras file or a graph should be is called that."""
    (tmp_path / name).write_bytes(stand_in)

    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path / name)

    assert caught.value.code == code


def test_imagenet_weights_of_keras_are_ported(real_checkpoints):
    """The official MobileNet 0.25 of Keras 2.0.4 is recognised and closes, variable for variable."""
    pytest.importorskip("h5py")
    from porter.planning.plan import plan
    from porter.tables.shipped import load_tables

    (path,) = (p for p in _files(real_checkpoints) if p.name == "mobilenet_2_5_128_tf.h5")
    with open_checkpoint(path) as checkpoint:
        made = plan(checkpoint, load_tables())
        stem = checkpoint.read(checkpoint.find("layer_with_weights-0/kernel"))

    assert made.variant.name == "keras_mobilenetv1_025"
    assert [line.bucket.value for line in made.ledger] == ["mapped"] * 137
    assert stem.shape == (3, 3, 3, 8)
    assert np.isfinite(stem).all()


def test_network_without_a_table_gets_the_nearest_candidates(real_checkpoints):
    """ResNet8 and the keyword spotting network are listed in full, and no table is said to fit."""
    pytest.importorskip("h5py")
    for name in ("pretrainedResnet.h5", "kws_ref_model/saved_model.pb"):
        (path,) = (p for p in _files(real_checkpoints) if p.as_posix().endswith(name))
        run = CliRunner().invoke(main, ["inspect", str(path)])

        assert run.exit_code == 0
        assert "network   not recognised: " in run.output
        assert "no network fits; the nearest are listed below" in run.output or "no table fits" in run.output
