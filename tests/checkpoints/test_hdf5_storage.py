import io
import json
import zipfile

import numpy as np
import pytest

from porter.checkpoints import open_checkpoint
from porter.errors import CheckpointError, MissingDependencyError

h5py = pytest.importorskip("h5py")
k = pytest.importorskip("keras_writer")

RNG = np.random.default_rng(4)
VALUES = RNG.standard_normal((37, 23)).astype(np.float32)


def _file(folder, build, **options):
    def everything(file):
        k.legacy(file)
        build(file)

    path = folder / "model.h5"
    path.write_bytes(k.hdf5(everything, **options))
    return path


def _assert_equal_to_h5py(path, source=None):
    """Every dataset is what h5py reads, whole and in part, in native order and read-only."""
    names = []
    with h5py.File(source or path) as file, open_checkpoint(path) as checkpoint:
        file.visit(names.append)
        datasets = {name: file[name][()] for name in names if isinstance(file[name], h5py.Dataset)}
        assert sorted(datasets) == sorted(checkpoint.specs)
        for key, value in datasets.items():
            found = checkpoint.read(key)
            np.testing.assert_array_equal(value.astype(value.dtype.newbyteorder("=")), found, strict=True)
            assert not found.flags.writeable
            block = tuple(slice(length // 4, length - length // 3) for length in value.shape)
            np.testing.assert_array_equal(value[block], checkpoint.read_block(key, block))


@pytest.mark.parametrize(
    "dtype",
    ["f2", "f4", "f8", ">f2", ">f4", ">f8", "i1", "i2", "i4", "i8", ">i4", "u1", "u2", "u4", ">u8", "bool"],
)
@pytest.mark.parametrize("chunks", [None, (10, 7)])
def test_every_element_type_in_either_byte_order(tmp_path, dtype, chunks):
    """Numbers of every width, big-endian ones too, contiguous and in chunks that do not divide the shape."""
    data = (VALUES * 50).astype(dtype)
    path = _file(tmp_path, lambda file: file.create_dataset("extra", data=data, chunks=chunks))

    _assert_equal_to_h5py(path)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": 9},
        {"compression": 1, "shuffle": True},
        {"shuffle": True, "chunks": (5, 5)},
        {"chunks": (37, 23), "maxshape": (None, None)},
        {"fletcher32": True},
        {"fletcher32": True, "compression": 4, "shuffle": True},
    ],
)
@pytest.mark.parametrize("libver", ["earliest", "v110", "latest"])
def test_filters_and_file_versions(tmp_path, options, libver):
    """Deflated, shuffled and extendible datasets, in the oldest and the newest layout of the file."""
    path = _file(tmp_path, lambda file: file.create_dataset("extra", data=VALUES, **options), libver=libver)

    _assert_equal_to_h5py(path)


@pytest.mark.parametrize("length", [25, 1 << 21, (1 << 21) + 1])
def test_checksum_of_a_chunk_is_verified(tmp_path, length):
    """Fletcher's checksum, HDF5's only one: a whole chunk is read, a flipped bit is refused."""
    data = np.random.default_rng(0).integers(0, 256, length, np.uint8)

    def build(file):
        file.create_dataset("extra", data=data, chunks=(length,), fletcher32=True)

    path = _file(tmp_path, build)
    _assert_equal_to_h5py(path)
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(data.tobytes()[-20:]) + 7] ^= 16
    path.write_bytes(damaged)

    with open_checkpoint(path) as checkpoint, pytest.raises(CheckpointError) as caught:
        checkpoint.read("extra")

    assert caught.value.code == "hdf5/bad-checksum"


@pytest.mark.parametrize("value", [np.float32(2.5), np.zeros((0, 3), "f4"), np.zeros((1, 1, 1, 1), "f8")])
def test_scalars_and_empty_tensors(tmp_path, value):
    """A scalar has no axes, an empty tensor no bytes."""
    _assert_equal_to_h5py(_file(tmp_path, lambda file: file.create_dataset("extra", data=value)))


def test_data_inside_an_object_header(tmp_path):
    """A compact dataset has no place of its own in the file."""

    def build(file):
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((4, 3))
        made = h5py.h5d.create(file.id, b"extra", h5py.h5t.IEEE_F32BE, space, plan)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(VALUES[:4, :3]))

    _assert_equal_to_h5py(_file(tmp_path, build))


@pytest.mark.parametrize("size", [512, 2048])
def test_block_of_the_users_own_in_front(tmp_path, size):
    """HDF5 lets other bytes stand before the file; every place moves with it."""
    path = tmp_path / "model.h5"
    with h5py.File(path, "w", userblock_size=size) as file:
        k.legacy(file)
        file.create_dataset("extra", data=VALUES)
        file.create_dataset("chunked", data=VALUES, chunks=(8, 8))

    _assert_equal_to_h5py(path)


def test_bfloat16_is_read_as_keras_stores_it(tmp_path):
    """Keras 3 stores bfloat16 as opaque words and says so in an attribute; others are no numbers."""
    words = RNG.integers(0, 1 << 16, 6, np.uint16)

    def build(file):
        file.create_dataset("half", data=words.view("V2")).attrs["dtype"] = "bfloat16"
        file.create_dataset("other", data=words.view("V2"))

    with open_checkpoint(_file(tmp_path, build)) as checkpoint:
        assert checkpoint.specs["half"].dtype.name == "bfloat16"
        assert checkpoint.specs["other"].dtype.name == "variant"
        np.testing.assert_array_equal(words, checkpoint.read("half"))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_weights_inside_an_archive(tmp_path, compression):
    """A .keras file is read where it lies when its members are stored, and unpacked when deflated."""
    path = tmp_path / "model.keras"
    path.write_bytes(k.archive(compression=compression))
    with zipfile.ZipFile(path) as archive:
        source = io.BytesIO(archive.read("model.weights.h5"))

    _assert_equal_to_h5py(path, source)
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.format == "Keras .keras archive (Keras 3.1.0)"
        assert checkpoint.find("layer_with_weights-1/kernel") == "layers/dense/vars/0"


def test_nothing_is_left_of_what_was_unpacked(tmp_path, monkeypatch):
    """The unpacked weights never have a name, so nothing can be left behind."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    (tmp_path / "model.keras").write_bytes(k.archive(compression=zipfile.ZIP_DEFLATED))

    with open_checkpoint(tmp_path / "model.keras") as checkpoint:
        assert list((tmp_path / "scratch").iterdir()) == []
        assert checkpoint.read("layers/dense/vars/1").shape == (2,)


def test_lambda_is_a_layer_without_weights(tmp_path):
    """The code in a Lambda's config is neither run nor looked at; the layers behind it keep their numbers."""
    path = tmp_path / "model.h5"
    path.write_bytes(k.hdf5(lambda file: k.legacy(file, config=k.CONFIG)))

    with open_checkpoint(path) as checkpoint:
        assert checkpoint.find("layer_with_weights-1/kernel") == "model_weights/dense/dense/kernel:0"
        assert checkpoint.find("layer-3/kernel") == "model_weights/dense/dense/kernel:0"


def test_missing_h5py_is_said_once_and_clearly(tmp_path, monkeypatch):
    """Without h5py a Keras file is refused with the command that installs it."""
    from porter.formats.hdf5 import description

    path = _file(tmp_path, lambda file: file.create_dataset("extra", data=VALUES))
    monkeypatch.setattr(description.importlib.util, "find_spec", lambda _: None)

    with pytest.raises(MissingDependencyError, match=r"pip install 'port-weights\[hdf5\]'") as caught:
        open_checkpoint(path)

    assert caught.value.code == "hdf5/no-h5py"


def test_keras_1_names_are_known(tmp_path):
    """Keras 1 joined layer and variable with an underscore, and its running_std holds the variance."""

    def build(file):
        file.attrs["layer_names"] = np.array([b"convolution2d_1", b"batchnormalization_1"])
        for layer, names in (
            ("convolution2d_1", ("W", "b")),
            ("batchnormalization_1", ("gamma", "beta", "running_mean", "running_std")),
        ):
            group = file.create_group(layer)
            group.attrs["weight_names"] = np.array([f"{layer}_{name}".encode() for name in names])
            for number, name in enumerate(names):
                group.create_dataset(f"{layer}_{name}", data=np.full(2, number, np.float32))

    (tmp_path / "model.h5").write_bytes(k.hdf5(build))
    with open_checkpoint(tmp_path / "model.h5") as checkpoint:
        assert checkpoint.format == "Keras HDF5 (Keras 1, weights only)"
        assert checkpoint.find("layer_with_weights-0/bias") == "convolution2d_1/convolution2d_1_b"
        variance = checkpoint.find("layer_with_weights-1/moving_variance")
        assert variance == "batchnormalization_1/batchnormalization_1_running_std"


def _with_slashes(file):
    """Fill `file` as tf_keras does for layers "Conv" and "Conv/BatchNorm", in and outside a nested model."""
    norm = ("gamma", "beta", "moving_mean", "moving_variance")
    plain = ["Conv/kernel:0", *(f"Conv/BatchNorm/{name}:0" for name in norm)]
    stored = {"Conv": plain[:1], "Conv/BatchNorm": plain[1:], "nested": plain}
    inner = [
        {"class_name": "Conv2D", "config": {"name": "Conv"}},
        {"class_name": "BatchNormalization", "config": {"name": "Conv/BatchNorm"}},
    ]
    nested = {"class_name": "Functional", "config": {"name": "nested", "layers": inner}}
    file.attrs["model_config"] = json.dumps(
        {"class_name": "Functional", "config": {"name": "model", "layers": [*inner, nested]}}
    )
    base = file.create_group("model_weights")
    base.attrs["layer_names"] = np.array([name.encode() for name in stored])
    for layer, names in stored.items():
        group = base.require_group(layer)
        group.attrs["weight_names"] = np.array([name.encode() for name in names])
        for number, name in enumerate(names):
            group.create_dataset(name, data=np.full(2, number, np.float32))


def test_layers_whose_names_have_slashes_are_layers_of_their_own(tmp_path):
    """tf_keras calls the norm of MobileNetV3's layer "Conv" "Conv/BatchNorm"."""
    (tmp_path / "model.h5").write_bytes(k.hdf5(_with_slashes))
    with open_checkpoint(tmp_path / "model.h5") as checkpoint:
        for model in ("", "layer_with_weights-2/"):
            assert checkpoint.find(f"{model}layer_with_weights-0/kernel")
            assert checkpoint.find(f"{model}layer_with_weights-1/moving_variance")
