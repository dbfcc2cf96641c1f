"""What lies beside weights, and checkpoints of which a part is missing: named, with one way on."""

from __future__ import annotations

import json

import bundle_writer as w
import hostile_tfjs
import numpy as np
import pytest
from click.testing import CliRunner

from porter.checkpoints import open_checkpoint
from porter.cli.main import main
from porter.errors import CheckpointError


def _refused(path):
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    return caught.value


@pytest.fixture
def index(tmp_path):
    """The index of a checkpoint whose data file is gone."""
    bundle = w.Bundle()
    bundle.put("dense/kernel/.ATTRIBUTES/VARIABLE_VALUE", np.zeros((2, 3), np.float32))
    bundle.put("step", np.array(7, np.int64))
    prefix = bundle.store(tmp_path / "ckpt")
    for data in tmp_path.glob("ckpt.data-*"):
        data.unlink()
    return prefix.with_name("ckpt.index")


def test_index_without_its_data_is_listed(index):
    """Names, types and shapes are shown, and which file is missing."""
    run = CliRunner().invoke(main, ["inspect", str(index)])
    document = json.loads(CliRunner().invoke(main, ["inspect", str(index), "--json"]).output)

    assert run.exit_code == 0, run.output
    assert "missing   " in run.output
    assert "ckpt.data-00000-of-00001" in run.output
    assert [(t["key"], t["dtype"], t["shape"]) for t in document["tensors"]] == [
        ("dense/kernel", "float32", [2, 3]),
        ("step", "int64", []),
    ]
    assert [path.rpartition("/")[2] for path in document["missing"]] == ["ckpt.data-00000-of-00001"]


def test_index_without_its_data_is_not_ported(index, tmp_path):
    """A port is refused by the missing file, and told of `inspect`."""
    run = CliRunner().invoke(main, ["port-weights", str(index), str(tmp_path / "out.safetensors")])

    assert run.exit_code != 0
    assert "bundle/missing-shard" in run.output
    assert "porter inspect" in run.output


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("keras_metadata.pb", b"\x0a\x02ab", "checkpoint/saved-model-metadata"),
        ("graph.pbtxt", b'node {\n  name: "x"\n}\n', "checkpoint/text-graph"),
        ("model.json", b'{"class_name": "Sequential", "config": []}', "checkpoint/keras-architecture"),
    ],
)
def test_what_lies_beside_weights_is_named(tmp_path, name, content, code):
    """Each is called what it is and says what to name in its place."""
    (tmp_path / name).write_bytes(content)

    error = _refused(tmp_path / name)
    assert error.code == code
    assert error.hint


def test_part_of_a_tensorflow_js_model_is_named(tmp_path):
    """A binary weight file leads to its model.json."""
    (tmp_path / "model.json").write_text(json.dumps(hostile_tfjs.MODEL))
    (tmp_path / "group1-shard1of1.bin").write_bytes(hostile_tfjs.WEIGHTS)

    assert _refused(tmp_path / "group1-shard1of1.bin").code == "checkpoint/tfjs-part"
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.read("dense/kernel").tolist() == [[0, 1, 2], [3, 4, 5]]


def test_directory_names_what_can_be_opened_in_it(tmp_path):
    """Files and SavedModels in it are listed, three of them by name."""
    for name in ("a.h5", "b.keras", "c.pb", "d.h5", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "saved_model.pb").touch()

    assert _refused(tmp_path).hint == "Name one that is in it: a.h5, b.keras, c.pb or 2 more."


def test_orbax_checkpoint_is_named(tmp_path):
    """A folder of JAX's Orbax is called so."""
    (tmp_path / "_CHECKPOINT_METADATA").touch()

    assert "Orbax" in _refused(tmp_path).hint
