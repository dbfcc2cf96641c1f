"""Containers around Keras's weights: TensorFlow.js, shards, backups, wrappers, names from Windows."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from warm_frameworks import run_with_tensorflow

pytest.importorskip("h5py")
from porter.checkpoints import open_checkpoint
from porter.errors import CheckpointError
from porter.planning.ledger import Bucket, write_ledger

_WRITER = Path(__file__).with_name("write_keras_containers.py")


def _written(module_folder, name):
    for needed in (name, "tensorflow", *(["tensorflow_model_optimization"] if name == "tf_keras" else [])):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"needs {needed}")
    out = module_folder(name)
    run_with_tensorflow(_WRITER, name, out)
    return out


@pytest.fixture(scope="module")
def tf_keras(module_folder):
    """Folder of what tf_keras wrote."""
    return _written(module_folder, "tf_keras")


@pytest.fixture(scope="module")
def keras(module_folder):
    """Folder of what Keras 3 wrote."""
    return _written(module_folder, "keras")


def _reference(folder, name="reference"):
    with np.load(folder / f"{name}.npz") as stored:
        return {f"layer_with_weights-{key.replace('|', '/')}": stored[key] for key in stored}


def _assert_equal(path, expected, rounding=0.0):
    """Every weight is at its object path, with the writer's own value, or as near as rounding allows."""
    with open_checkpoint(path) as checkpoint:
        found = {each: checkpoint.read(checkpoint.find(each)) for each in expected}
    worst = max(np.abs(found[each] - value).max() for each, value in expected.items())
    assert worst <= rounding
    if not rounding:
        assert all(found[each].tobytes() == value.tobytes() for each, value in expected.items())


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["quantised", "pruned"])
@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_wrapped_layers_are_unwrapped(tf_keras, name, ending):
    """Float weights are where the plain model has them; ranges and masks are no weights; a note says so."""
    path = tf_keras / f"{name}.{ending}"
    _assert_equal(path, _reference(tf_keras))

    with open_checkpoint(path) as checkpoint:
        ledger = write_ledger(checkpoint, {}, {}, {}, {}, {})
        network = checkpoint.stored_network
        remarks = checkpoint.remarks
    rest = [line.key for line in ledger if line.bucket is Bucket.REFUSED]
    assert len(rest) == len(_reference(tf_keras))
    assert any("layers" in remark for remark in remarks)
    assert [operation.kind for operation in network.operations if operation.kind != "input"] == [
        *(
            "conv",
            "norm",
            "relu",
            "depthwise_conv",
            "norm",
            "relu",
            "conv",
            "relu",
            "global_avg_pool",
            "dense",
        ),
    ]


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["quantised", "pruned"])
def test_wrapped_weights_without_a_config_keep_their_order(tf_keras, name):
    """Wrappers are all of one class, so their numbers give the model's order."""
    expected = list(_reference(tf_keras).values())
    with open_checkpoint(tf_keras / f"{name}.weights.h5") as checkpoint:
        nodes = checkpoint.graph.nodes
        layers = [nodes[number].children for number in nodes[0].anonymous]
        keys = [dict.fromkeys(nodes[child].key for child in layer.values()) for layer in layers]
        found = [checkpoint.read(key) for layer in keys for key in layer if key]

    assert len(found) == len(expected)
    assert {value.tobytes() for value in found} == {value.tobytes() for value in expected}


@pytest.mark.tensorflow
def test_names_from_windows(tf_keras):
    """Backslashes in HDF5 names are the slashes that they were meant to be."""
    _assert_equal(tf_keras / "windows.keras", _reference(tf_keras))


@pytest.mark.tensorflow
def test_sharded_weights(keras, tmp_path):
    """All shards together hold what the model does; one that is missing is named."""
    shards = sorted(keras.glob("sharded_*.weights.h5"))
    with open_checkpoint(keras / "sharded.weights.json") as checkpoint:
        values = {checkpoint.read(key).tobytes() for key in checkpoint.specs}
        assert set(checkpoint.files) == {keras / "sharded.weights.json", *shards}
    assert values == {value.tobytes() for value in _reference(keras).values()}
    assert len(shards) > 1

    for file in (keras / "sharded.weights.json", *shards[1:]):
        shutil.copy(file, tmp_path)
    with pytest.raises(
        CheckpointError, match=f"a shard of the weights is missing; expected {shards[0].name}"
    ):
        open_checkpoint(tmp_path / "sharded.weights.json")


@pytest.mark.tensorflow
def test_shards_of_two_models_are_refused(keras, tmp_path):
    """A shard that does not hold what the map says belongs to other weights."""
    document = json.loads((keras / "sharded.weights.json").read_text())
    shards = sorted(keras.glob("sharded_*.weights.h5"))
    for shard in shards:
        shutil.copy(shard, tmp_path)
    shutil.copy(shards[1], tmp_path / shards[0].name)
    (tmp_path / "sharded.weights.json").write_text(json.dumps(document))

    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path / "sharded.weights.json")
    assert caught.value.code == "keras/foreign-shard"


@pytest.mark.tensorflow
def test_int8_kernels_are_divided_by_their_scale(keras):
    """A Dense that Keras quantised has the kernel that Keras computes of it, and a note says so."""
    path = keras / "int8.keras"
    _assert_equal(path, _reference(keras, "int8"))
    with open_checkpoint(path) as checkpoint:
        key = checkpoint.find("layer_with_weights-0/kernel")
        whole, part = checkpoint.read(key), checkpoint.read_block(key, (slice(1, 4), slice(2, 4)))
        assert part.tobytes() == whole[1:4, 2:4].tobytes()
        assert len(checkpoint.remarks) == 1


@pytest.mark.tensorflow
def test_folder_of_a_backup(keras):
    """The folder of BackupAndRestore opens as the weights in it."""
    with open_checkpoint(keras / "backup") as checkpoint:
        values = {checkpoint.read(key).tobytes() for key in checkpoint.specs}
    assert values >= {value.tobytes() for value in _reference(keras, "trained").values()}


@pytest.mark.tensorflow
@pytest.mark.parametrize("generation", ["tf_keras", "keras"])
@pytest.mark.parametrize("kind", ["float32", "float16", "uint8", "uint16"])
def test_tensorflow_js_layers_model(request, generation, kind):
    """Folder, model.json and zip archive hold the same; fewer bits are as near as they can be."""
    root = request.getfixturevalue(generation)
    expected = _reference(root)
    rounding = {"float32": 0.0, "float16": 2**-11, "uint8": 0.5 / 255 + 1e-7, "uint16": 0.5 / 65535 + 1e-7}[
        kind
    ]
    for path in (root / kind, root / kind / "model.json", root / f"{kind}.zip"):
        _assert_equal(path, expected, rounding)

    with open_checkpoint(root / kind) as checkpoint:
        assert checkpoint.labels == ("a", "b", "c")
        assert checkpoint.stored_network is not None
        assert bool(checkpoint.remarks) == (kind != "float32")


@pytest.mark.tensorflow
@pytest.mark.parametrize("generation", ["tf_keras", "keras"])
def test_tensorflow_js_graph_model(request, generation):
    """A norm that the converter folded is a layer again: with its kernel it computes what the model's do."""
    root = request.getfixturevalue(generation)
    expected = _reference(root)
    with open_checkpoint(root / "graph") as checkpoint:
        paths = {*expected, "layer_with_weights-3/gamma"}
        found = {each: checkpoint.read(key) for each in paths if (key := checkpoint.find(each))}
        network = checkpoint.stored_network

    # What tf_keras writes has the bias in front of a norm folded into the norm.
    assert set(expected) - set(found) <= {"layer_with_weights-2/bias"}
    assert [operation.kind for operation in network.operations if operation.kind != "input"] == [
        *(
            "conv",
            "norm",
            "relu",
            "depthwise_conv",
            "norm",
            "relu",
            "conv",
            "relu",
            "global_avg_pool",
            "dense",
        ),
    ]
    for kernel, norm, leaf, axes in ((0, 1, "kernel", (0, 1, 2)), (2, 3, "depthwise_kernel", (0, 1, 3))):
        one, other = (_folded(values, kernel, norm, leaf, axes) for values in (expected, found))
        assert all(np.abs(a - b).max() < 1e-5 for a, b in zip(one, other, strict=True))
    for name in ("4/kernel", "4/bias", "5/kernel", "5/bias"):
        np.testing.assert_array_equal(
            expected[f"layer_with_weights-{name}"], found[f"layer_with_weights-{name}"]
        )


def _folded(values, kernel, norm, leaf, axes):
    """Return the kernel and the bias that a convolution and the norm behind it come to."""
    norms = {role: values.get(f"layer_with_weights-{norm}/{role}", 1.0) for role in
             ("gamma", "beta", "moving_mean", "moving_variance")}  # fmt: skip
    factor = norms["gamma"] / np.sqrt(norms["moving_variance"] + 1e-3)
    bias = values.get(f"layer_with_weights-{kernel}/bias", 0.0)
    shaped = np.expand_dims(factor, axes)
    return (
        values[f"layer_with_weights-{kernel}/{leaf}"] * shaped,
        (bias - norms["moving_mean"]) * factor + norms["beta"],
    )


def test_quantised_numbers_of_tensorflow_js_are_javascripts(tmp_path):
    """A word is multiplied and added in float64, then rounded to float32 once."""
    words = np.arange(256, dtype=np.uint8)
    scale, low = 0.0066667566112443, -0.87334511607301
    document = {
        "modelTopology": {"class_name": "Sequential", "config": [
            {"class_name": "Dense", "config": {"name": "d", "units": 256, "use_bias": True}}]},
        "weightsManifest": [{"paths": ["w.bin"], "weights": [
            {"name": "d/bias", "shape": [256], "dtype": "float32",
             "quantization": {"dtype": "uint8", "scale": scale, "min": low}}]}],
    }  # fmt: skip
    (tmp_path / "model.json").write_text(json.dumps(document))
    (tmp_path / "w.bin").write_bytes(words.tobytes())

    with open_checkpoint(tmp_path) as checkpoint:
        found = checkpoint.read("d/bias")
        part = checkpoint.read_block("d/bias", (slice(7, 9),))
    assert found.tolist() == [float(np.float32(word * scale + low)) for word in range(256)]
    assert part.tolist() == found[7:9].tolist()


def test_teachable_machine_and_nsfw_models_open(real_checkpoints):
    """Published TensorFlow.js models: a zip with labels, and a folder of 8-bit weights."""
    with open_checkpoint(real_checkpoints / "teachable-tfjs" / "image-model.zip") as checkpoint:
        assert (len(checkpoint.specs), checkpoint.labels) == (263, ("Class 1", "Class 2"))
    with open_checkpoint(real_checkpoints / "nsfwjs-tfjs") as checkpoint:
        assert len(checkpoint.specs) == 266
        assert sum("uint8" in remark for remark in checkpoint.remarks) == 1
