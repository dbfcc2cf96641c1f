import math
import threading

import bundle_writer as w
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

import porter.transfer.tensor_blocks
from porter.checkpoints import open_checkpoint
from porter.core.assignments import Assignment, StoredPart
from porter.core.layouts import parse_layout
from porter.errors import CheckpointError
from porter.formats.region import PIECE
from porter.transfer.transfer import transfer

SHAPES = {
    "vector": (23,),
    "matrix": (17, 13),
    "kernel": (3, 3, 5, 7),
    "wide": (9, 20_000),
    "deep": (4, 6, 3000),
}
GRID = [((0, 4), (0, None)), ((4, 5), (0, 8)), ((4, 5), (8, 5))]


def _bundle(**options):
    bundle = w.Bundle(shards=2, **options)
    for number, (name, shape) in enumerate(SHAPES.items()):
        bundle.put(name, np.arange(math.prod(shape), dtype=np.float32).reshape(shape), number % 2)
    bundle.put_slices("sliced", np.arange(9 * 13, dtype=np.int16).reshape(9, 13), GRID)
    return bundle


@pytest.fixture(scope="module")
def checkpoint(module_folder):
    """Tensors of every shape that matters, one of them in slices."""
    with open_checkpoint(_bundle().store(module_folder("blocks") / "ckpt")) as opened:
        yield opened


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_block_is_that_part_of_the_whole(checkpoint, data):
    """Every block, down to empty ones and up to the whole, equals the same slice of the whole tensor."""
    key = data.draw(st.sampled_from(sorted(checkpoint.specs)))
    shape = checkpoint.specs[key].shape
    block = tuple(slice(*sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2)))) for n in shape)

    found = checkpoint.read_block(key, block)

    np.testing.assert_array_equal(checkpoint.read(key)[block], found)
    assert found.flags.c_contiguous
    assert not found.flags.writeable


@pytest.mark.parametrize("shape", [(3000, 700), (40, 90, 700), (5, 2, PIECE // 4 + 10), (700, 5, 3000)])
def test_blocks_larger_than_a_piece_are_whole(tmp_path, shape):
    """Blocks that need several reads, near or far apart, have every element."""
    array = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    bundle = w.Bundle()
    bundle.put("t", array)
    block = tuple(slice(n // 5, n - n // 7) for n in shape)

    with open_checkpoint(bundle.store(tmp_path / "ckpt")) as checkpoint:
        found = checkpoint.read_block("t", block)

    np.testing.assert_array_equal(array[block], found)


def test_blocks_of_another_rank_or_step_are_a_mistake_of_the_caller(checkpoint):
    """A block with the wrong number of axes or a step raises ValueError."""
    with pytest.raises(ValueError, match="2 slices"):
        checkpoint.read_block("matrix", (slice(None),))
    with pytest.raises(ValueError, match="step 1"):
        checkpoint.read_block("vector", (slice(0, 9, 2),))


def test_big_endian_bundles_are_read_in_native_order(tmp_path):
    """A bundle of a big-endian machine gives the same values: whole, in blocks, in slices, as text."""
    arrays = {
        "c": np.array([1 + 2j, -3.5j], np.complex64),
        "d": np.float64([[1.5, -2]]),
        "s": np.int16([-2, 513]),
    }
    arrays |= {"b": np.array([True, False]), "t": np.array([b"one", b"", b"x" * 70000], object)}
    little, big = w.Bundle(shards=2), w.Bundle(shards=2, big_endian=True)
    for bundle in (little, big):
        for name, array in arrays.items():
            bundle.put(name, array)
        bundle.put_slices("sliced", np.arange(9 * 13, dtype=np.int16).reshape(9, 13), GRID)
    assert little.files[0] != big.files[0]

    with (
        open_checkpoint(little.store(tmp_path / "little")) as expected,
        open_checkpoint(big.store(tmp_path / "big")) as found,
    ):
        assert expected.specs == found.specs
        for key, spec in expected.specs.items():
            found.verify(key)
            for axis in range(len(spec.shape)):
                ranges = [array.copy() for array in found.read_ranges(key, axis, 2)]
                np.testing.assert_array_equal(np.concatenate(ranges, axis), expected.read(key))
            ((_, whole),) = found.read_each([key])
            np.testing.assert_array_equal(expected.read(key), whole, strict=True)
            np.testing.assert_array_equal(expected.read(key), found.read(key), strict=True)
            block = tuple(slice(1, n) for n in spec.shape)
            np.testing.assert_array_equal(expected.read_block(key, block), found.read_block(key, block))


def _parts(checkpoint, key):
    """Yield (axis, length, arrays) for ranges of one and several elements along every axis of one tensor."""
    for axis, size in enumerate(checkpoint.specs[key].shape):
        for length in (1, 3, size):
            yield axis, [array.copy() for array in checkpoint.read_ranges(key, axis, length)]


def test_ranges_together_are_the_whole(checkpoint):
    """The ranges along any axis, put together, are the tensor; their lengths are those asked for."""
    for key in ("vector", "matrix", "kernel", "sliced"):
        parts = list(_parts(checkpoint, key))
        assert len(parts) == 3 * len(checkpoint.specs[key].shape) > 0
        for axis, arrays in parts:
            np.testing.assert_array_equal(np.concatenate(arrays, axis), checkpoint.read(key))
            assert len({array.shape for array in arrays[:-1]}) <= 1


def test_every_tensor_comes_once_when_many_are_read(checkpoint):
    """Reading many gives what reading each gives, whatever the order they are asked for in."""
    keys = sorted(checkpoint.specs, reverse=True)
    found = {key: array.copy() for key, array in checkpoint.read_each(keys)}

    assert set(found) == set(keys)
    for key, array in found.items():
        np.testing.assert_array_equal(array, checkpoint.read(key), strict=True)


def test_many_tensors_of_odd_lengths_come_aligned_or_not(tmp_path):
    """Tensors between strings and bytes, far apart and close, are read right wherever they begin."""
    bundle = w.Bundle()
    arrays = {}
    for number, kind in enumerate(["i1", "f4", "i8", "i2", "c8", "f8", "?"] * 8):
        arrays[f"{number:03}"] = (np.arange(number * 37 % 50) % 2).astype(kind)
        arrays[f"{number:03}s"] = np.array([b"x" * (number % 7)], object)
    arrays["big"] = np.arange(700_000, dtype=np.float32)
    for name, array in sorted(arrays.items()):
        bundle.put(name, array)
    with open_checkpoint(bundle.store(tmp_path / "ckpt")) as checkpoint:
        asked = [key for key in arrays if "7" not in key]
        found = {key: array.copy() for key, array in checkpoint.read_each(asked)}

    assert sorted(found) == sorted(asked)
    assert 50 < len(asked) < len(arrays)
    for key, array in found.items():
        np.testing.assert_array_equal(array, arrays[key])


@pytest.mark.parametrize("key", ["matrix", "kernel", "sliced"])
def test_damage_is_found_however_a_tensor_is_read(tmp_path, key):
    """One changed bit is refused, with the tensor's name, by reading ranges and by reading many."""
    rng = np.random.default_rng(7)
    bundle, array = w.Bundle(), rng.random(SHAPES.get(key, (9, 13)))
    bundle.put("a", rng.random(20))
    (bundle.put_slices if key == "sliced" else bundle.put)(key, array, *([GRID] if key == "sliced" else []))
    prefix = bundle.store(tmp_path / "ckpt")
    data = bytearray((tmp_path / "ckpt.data-00000-of-00001").read_bytes())
    data[data.find(array.reshape(-1)[-1].tobytes()) + 5] ^= 16
    (tmp_path / "ckpt.data-00000-of-00001").write_bytes(data)

    reads = [lambda checkpoint: list(checkpoint.read_each(["a", key]))]
    reads += [lambda checkpoint, i=i: list(checkpoint.read_ranges(key, i, 2)) for i in range(array.ndim)]
    assert len(reads) == 1 + array.ndim > 1
    for read in reads:
        with open_checkpoint(prefix) as checkpoint, pytest.raises(CheckpointError) as caught:
            read(checkpoint)
        assert (caught.value.code, caught.value.tensor) == ("bundle/bad-checksum", key)


@pytest.mark.parametrize("threshold", [0, 1 << 30])
def test_no_file_appears_where_a_tensor_is_damaged(tmp_path, monkeypatch, threshold):
    """Whether a tensor is read whole or in ranges, a wrong checksum leaves nothing behind."""
    monkeypatch.setattr(porter.transfer.tensor_blocks, "WHOLE_BYTES", threshold)
    bundle, out = w.Bundle(), tmp_path / "out"
    bundle.put("t", np.ones((300, 400), np.float32))
    prefix = bundle.store(tmp_path / "ckpt")
    with (tmp_path / "ckpt.data-00000-of-00001").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\0")
    with open_checkpoint(prefix) as checkpoint:
        part = StoredPart("t", "t", checkpoint.specs["t"], parse_layout("i o -> o i"))
        with pytest.raises(CheckpointError) as caught:
            transfer(checkpoint, [Assignment("t", (400, 300), (part,))], out)

    assert (caught.value.code, caught.value.tensor) == ("bundle/bad-checksum", "t")
    assert not out.exists()


def _many(tmp_path, damaged=None):
    """Return a stored bundle of twenty matrices, 8 MB in all, and the arrays; one of them may be damaged."""
    bundle, rng = w.Bundle(), np.random.default_rng(1)
    arrays = {f"t{number:02}": rng.random((320, 320), np.float32) for number in range(20)}
    for key, array in arrays.items():
        bundle.put(key, array)
    prefix = bundle.store(tmp_path / "ckpt")
    if damaged:
        file = tmp_path / "ckpt.data-00000-of-00001"
        data = bytearray(file.read_bytes())
        data[data.find(arrays[damaged].tobytes())] ^= 1
        file.write_bytes(data)
    return prefix, arrays


def _transfer(prefix, arrays, out):
    with open_checkpoint(prefix) as checkpoint:
        parts = {
            key: StoredPart(key, key, checkpoint.specs[key], parse_layout("i o -> o i")) for key in arrays
        }
        return transfer(
            checkpoint, [Assignment(key, (320, 320), (part,)) for key, part in parts.items()], out
        )


def test_every_one_of_many_tensors_arrives_at_its_place(tmp_path):
    """Tensors taken in the order in which they are stored are those that the file names."""
    prefix, arrays = _many(tmp_path)
    _transfer(prefix, arrays, tmp_path / "out")

    loaded = load_file(tmp_path / "out")
    assert set(loaded) == set(arrays)
    for key, array in arrays.items():
        np.testing.assert_array_equal(loaded[key], array.T)


@pytest.mark.parametrize("damaged", ["t00", "t09", "t10", "t19"])
def test_damage_to_one_of_many_tensors_is_named(tmp_path, damaged):
    """A damaged tensor among others that are read with it is named; no thread and no file is left."""
    prefix, arrays = _many(tmp_path, damaged)
    with pytest.raises(CheckpointError) as caught:
        _transfer(prefix, arrays, tmp_path / "out")

    assert (caught.value.code, caught.value.tensor) == ("bundle/bad-checksum", damaged)
    assert not (tmp_path / "out").exists()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("porter-")] == []


@pytest.mark.parametrize("action", ["read", "verify", "read_block", "read_each", "read_ranges"])
def test_file_that_shrinks_while_open_is_refused(tmp_path, action):
    """A data file cut short after opening gives a refusal, not a signal or zeros."""
    prefix = _bundle().store(tmp_path / "ckpt")
    with open_checkpoint(prefix) as checkpoint:
        checkpoint.read_block("deep", (slice(0, 1), slice(0, 1), slice(0, 1)))
        with (tmp_path / "ckpt.data-00000-of-00002").open("r+b") as file:
            file.truncate(1000)
        arguments = {
            "read_block": ("deep", (slice(None), slice(None), slice(0, 5))),
            "read_each": (["deep", "vector"],),
            "read_ranges": ("deep", 2, 7),
        }
        with pytest.raises(CheckpointError) as caught:
            list(getattr(checkpoint, action)(*arguments.get(action, ("deep",))))
    assert caught.value.code == "checkpoint/file-shrank"
    assert caught.value.tensor == "deep"


def test_unknown_key_is_a_key_error(checkpoint):
    """Asking for a tensor that is not there raises KeyError."""
    for action in (checkpoint.read, checkpoint.verify):
        with pytest.raises(KeyError):
            action("gone")


def test_arrays_outlive_the_checkpoint(tmp_path):
    """Arrays stay valid after close, and closing twice is harmless."""
    checkpoint = open_checkpoint(_bundle().store(tmp_path / "ckpt"))
    array = checkpoint.read("kernel")
    checkpoint.close()
    checkpoint.close()
    assert array.sum() == sum(range(315))


def test_names_that_are_not_utf8_come_back(tmp_path):
    """A name of arbitrary bytes is listed, read, and gives its bytes back."""
    bundle = w.Bundle()
    bundle.put(b"\xff\xfename", np.zeros(2, np.float32))
    with open_checkpoint(bundle.store(tmp_path / "ckpt")) as checkpoint:
        (name,) = checkpoint.specs
        checkpoint.read(name)
    assert name.encode("utf-8", "surrogateescape") == b"\xff\xfename"


def test_resource_handles_are_listed_and_not_read(tmp_path):
    """A tensor that is no data appears in the specs; reading it is refused by the name of its type."""
    bundle = w.Bundle()
    bundle.put("handle", np.zeros(3, np.uint8), dtype=20)
    with open_checkpoint(bundle.store(tmp_path / "ckpt")) as checkpoint:
        assert checkpoint.specs["handle"].dtype.name == "resource"
        with pytest.raises(CheckpointError, match="resource"):
            checkpoint.read("handle")
