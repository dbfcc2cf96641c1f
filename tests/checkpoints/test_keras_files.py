import importlib.util
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from warm_frameworks import run_with_tensorflow

pytest.importorskip("h5py")
from porter.checkpoints import open_checkpoint
from porter.planning.arrangement import arranged
from porter.planning.ledger import Bucket, write_ledger

HERE = Path(__file__).parent
OLD = HERE / "written_by_keras_2_12"
MODELS = ("flat", "nested", "sequential", "many")
WAYS = ("full.h5", "only.h5", "weights.h5", "keras")
GENERATIONS = ("keras", "tf_keras", "tf.keras")


@pytest.fixture(scope="module", params=GENERATIONS)
def generation(request, module_folder):
    """A folder of files that one generation of Keras wrote; each generation runs once."""
    name = request.param
    python = os.environ.get("PORTER_OLD_TENSORFLOW")
    if name == "tf.keras" and not python:
        pytest.skip("PORTER_OLD_TENSORFLOW names no Python that has the oldest TensorFlow (2.12)")
    if name != "tf.keras" and importlib.util.find_spec(name) is None:
        pytest.skip("needs the [tensorflow] extra")
    folder = module_folder(name.replace(".", "_"))
    if name == "tf.keras":
        subprocess.run([python, HERE / "keras_files.py", name, folder], check=True, timeout=600)
    else:
        run_with_tensorflow(HERE / "keras_files.py", name, folder)
    return folder


def _expected(folder, model):
    with np.load(folder / f"{model}.npz") as arrays:
        return dict(arrays)


def _axes(expected):
    return {path: value.ndim for path, value in expected.items()}


def _assert_has(checkpoint, expected):
    """Every object path of a TensorFlow checkpoint leads to the same numbers in `checkpoint`."""
    for path, value in expected.items():
        key = checkpoint.find(path)
        assert key is not None, path
        np.testing.assert_array_equal(value, checkpoint.read(key), strict=True)


@pytest.mark.tensorflow
@pytest.mark.parametrize("model", MODELS)
def test_paths_are_those_of_tensorflows_checkpoint(generation, model):
    """The paths that the other tests ask Keras files for are those that TensorFlow's checkpoint has."""
    if not (generation / f"{model}-ckpt.index").exists():
        pytest.skip("Keras 3 stores other object paths, so its checkpoints say nothing here")
    with open_checkpoint(generation / f"{model}-ckpt") as checkpoint:
        expected = {f"model/{path}": value for path, value in _expected(generation, model).items()}
        _assert_has(checkpoint, expected)


@pytest.mark.tensorflow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", MODELS)
def test_every_generation_has_the_paths_of_tensorflows_checkpoint(generation, model, way):
    """What Keras saved is found by TensorFlow's object paths, whichever Keras wrote it, in whatever way."""
    if not (generation / f"{model}.{way}").exists():
        pytest.skip("this generation cannot save in this way")
    expected = _expected(generation, model)
    if (model, way) == ("nested", "only.h5"):  # see the test of what is partly frozen
        expected = {path: value for path, value in expected.items() if path.count("/") == 1}
    with open_checkpoint(generation / f"{model}.{way}") as checkpoint:
        found = checkpoint if way != "weights.h5" else arranged(checkpoint, _axes(expected))
        _assert_has(found, expected)


@pytest.mark.tensorflow
def test_partly_frozen_model_without_config_has_names_alone(generation):
    """Keras lists frozen layers behind the others: without a config their order is lost and not guessed."""
    path = generation / "nested.only.h5"
    if not path.exists():
        pytest.skip("this generation cannot save in this way")
    expected = {
        path: value for path, value in _expected(generation, "nested").items() if path.count("/") == 2
    }
    with open_checkpoint(path) as checkpoint:
        found = arranged(checkpoint, _axes(expected))
        assert [found.find(path) for path in expected] == [None] * len(expected)


@pytest.mark.tensorflow
@pytest.mark.parametrize("way", WAYS)
def test_optimizer_is_counted_and_left_behind(generation, way):
    """A trained model's optimizer variables are in the ledger as such, a dropout's state as bookkeeping."""
    path = generation / f"flat.{way}"
    if not path.exists():
        pytest.skip("this generation cannot save in this way")
    expected = _expected(generation, "flat")
    with open_checkpoint(path) as checkpoint:
        found = arranged(checkpoint, _axes(expected))
        keys = {found.find(path): path for path in expected}
        ledger = write_ledger(found, keys, averages={}, refusals={}, left_out={}, folded={})
    rest = [line for line in ledger if line.bucket is not Bucket.MAPPED]
    assert {line.bucket for line in rest} <= {Bucket.OPTIMIZER, Bucket.BOOKKEEPING}
    assert (sum(line.bucket is Bucket.OPTIMIZER for line in rest) >= 2 * 16) == (way != "only.h5")


@pytest.mark.tensorflow
@pytest.mark.parametrize("way", WAYS)
def test_blocks_are_parts_of_the_whole(generation, way):
    """A rectangular part of a tensor is that part of the whole tensor."""
    if not (generation / f"flat.{way}").exists():
        pytest.skip("this generation cannot save in this way")
    with open_checkpoint(generation / f"flat.{way}") as checkpoint:
        assert checkpoint.specs
        for key, spec in checkpoint.specs.items():
            block = tuple(slice(length // 3, length) for length in spec.shape)
            checkpoint.verify(key)
            np.testing.assert_array_equal(checkpoint.read(key)[block], checkpoint.read_block(key, block))


@pytest.mark.parametrize("name", ["sequential.full.h5", "sequential.weights.h5", "nested.full.h5"])
def test_files_of_an_old_keras_are_read_without_any_framework(name):
    """What Keras 2.12 wrote has the object paths of TensorFlow's checkpoint; only h5py is needed."""
    expected = _expected(OLD, name.partition(".")[0])
    with open_checkpoint(OLD / name) as checkpoint:
        _assert_has(arranged(checkpoint, _axes(expected)), expected)


def test_every_published_keras_file_is_read_as_h5py_reads_it(real_checkpoints):
    """Each published .h5 and .keras file opens, and every dataset equals what h5py reads, bit for bit."""
    import io
    import zipfile

    import h5py

    files = [path for path in sorted(real_checkpoints.rglob("*")) if path.suffix in (".h5", ".keras")]
    assert len(files) >= 4
    for path in files:
        source = path
        if path.suffix == ".keras":
            source = io.BytesIO(zipfile.ZipFile(path).read("model.weights.h5"))
        names = []
        with h5py.File(source) as file:
            file.visit(names.append)
            datasets = {name: file[name][()] for name in names if isinstance(file[name], h5py.Dataset)}
        with open_checkpoint(path) as checkpoint:
            assert sorted(datasets) == sorted(checkpoint.specs)
            for key, value in datasets.items():
                np.testing.assert_array_equal(value, checkpoint.read(key), strict=True)
