import json

import numpy as np
import pytest
from file_checkpoint import words
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file

import porter.transfer.safetensors_writer
from porter.core.checkpoint import TensorSpec
from porter.core.dtypes import BY_NAME
from porter.errors import OutputError
from porter.transfer.safetensors_writer import SafetensorsWriter

F32 = BY_NAME["float32"]


def header(path):
    """Return the length and the JSON of the header."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return length, json.loads(data[8 : 8 + length])


def spec(dtype, *shape):
    """Return the spec of TensorFlow's `dtype`."""
    return TensorSpec(BY_NAME[dtype], shape)


SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda n: n != "__metadata__")
ARRAYS = st.dictionaries(
    NAMES, st.tuples(st.sampled_from(["float64", "float32", "float16", "int8", "bool"]), SHAPES)
)


@settings(max_examples=150, deadline=None)
@given(specs=ARRAYS, metadata=st.dictionaries(NAMES, NAMES, max_size=3))
def test_safetensors_reads_back_any_names_shapes_and_metadata(tmp_path_factory, specs, metadata):
    """The safetensors library reads what was written: names, shapes, values and metadata."""
    path = tmp_path_factory.mktemp("any") / "o"
    arrays = {n: words(i, BY_NAME[d].storage.name, s) for i, (n, (d, s)) in enumerate(specs.items())}
    with SafetensorsWriter(path, [(n, spec(d, *s)) for n, (d, s) in specs.items()], metadata) as writer:
        for name in writer.names:
            writer.write(name, arrays[name])
        writer.commit()

    loaded = load_file(path)
    assert {n: (a.dtype, a.shape, a.tobytes()) for n, a in loaded.items()} == {
        n: (a.dtype, a.shape, a.tobytes()) for n, a in arrays.items()
    }
    with safe_open(path, "numpy") as file:
        assert (file.metadata() or {}) == metadata


@settings(max_examples=200, deadline=None)
@given(specs=ARRAYS)
def test_starts_are_aligned_and_bytes_covered_without_holes(tmp_path_factory, specs):
    """Lengths that are multiples of 8 start at multiples of 8, all others at one of their element."""
    path = tmp_path_factory.mktemp("aligned") / "o"
    with SafetensorsWriter(path, [(n, spec(d, *s)) for n, (d, s) in specs.items()], {}) as writer:
        for name in writer.names:
            dtype, shape = specs[name]
            writer.write(name, np.zeros(shape, BY_NAME[dtype].storage))
        writer.commit()

    length, entries = header(path)
    assert length % 8 == 0
    position = 0
    for name in writer.names:
        begin, end = entries[name]["data_offsets"]
        assert begin == position
        assert begin % (8 if (end - begin) % 8 == 0 else BY_NAME[specs[name][0]].itemsize) == 0
        position = end
    assert path.stat().st_size == 8 + length + position == writer.nbytes


def test_network_with_counters_and_odd_biases_is_aligned_to_eight(tmp_path):
    """int64 counters, even float32 tensors and one odd bias all start at multiples of 8."""
    specs = [
        ("a.bias", spec("float32", 1001)),
        ("b.count", spec("int64")),
        ("c.weight", spec("float32", 4, 3)),
    ]
    with SafetensorsWriter(tmp_path / "o", specs, {}) as writer:
        for name, s in sorted(specs, key=lambda item: writer.names.index(item[0])):
            writer.write(name, np.zeros(s.shape, s.dtype.storage))
        writer.commit()

    _, entries = header(tmp_path / "o")
    assert all(entry["data_offsets"][0] % 8 == 0 for entry in entries.values())


def test_metadata_can_be_replaced_at_equal_length(tmp_path):
    """A placeholder becomes the value; another length is refused."""
    with SafetensorsWriter(tmp_path / "o", [("t", spec("float32", 2))], {"sha256": "0" * 64}) as writer:
        writer.write("t", np.ones(2, np.float32))
        writer.replace_metadata({"sha256": "f" * 64})
        with pytest.raises(OutputError, match="length"):
            writer.replace_metadata({"sha256": "f" * 99})
        writer.commit()

    assert header(tmp_path / "o")[1]["__metadata__"] == {"sha256": "f" * 64}
    np.testing.assert_array_equal(load_file(tmp_path / "o")["t"], [1, 1])


@pytest.mark.parametrize(
    ("tensors", "code"),
    [
        ([("a", spec("float32")), ("a", spec("int64"))], "output/duplicate-name"),
        ([("__metadata__", spec("float32"))], "output/reserved-name"),
        ([("a", spec("complex128"))], "output/dtype"),
        ([("a", spec("quint16"))], "output/dtype"),
        ([("a", spec("string"))], "output/dtype"),
        ([("a\udcff", spec("float32"))], "output/bad-text"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(tmp_path, tensors, code):
    """Duplicate and reserved names, foreign dtypes and broken text each have a code, and leave nothing."""
    with pytest.raises(OutputError) as caught:
        SafetensorsWriter(tmp_path / "o", tensors, {})

    assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_header_over_the_limit_is_refused(tmp_path, monkeypatch):
    """A header that the reader would refuse is refused by the writer."""
    assert porter.transfer.safetensors_writer.HEADER_LIMIT == 100_000_000
    monkeypatch.setattr(porter.transfer.safetensors_writer, "HEADER_LIMIT", 1000)
    SafetensorsWriter(tmp_path / "o", [], {"a": "x" * 900}).__exit__(None, None, None)
    with pytest.raises(OutputError) as caught:
        SafetensorsWriter(tmp_path / "o", [], {"a": "x" * 1000})

    assert caught.value.code == "output/header-too-long"


def test_tensors_may_take_turns(tmp_path):
    """Blocks of one tensor come in order, but those of another may come in between."""
    specs = [("a", spec("int16", 4)), ("b", spec("float32", 2, 2))]
    with SafetensorsWriter(tmp_path / "o", specs, {}) as writer:
        writer.write("b", np.float32([[1, 2]]))
        writer.write("a", np.int16([1, 2, 3]))
        writer.write("b", np.float32([3, 4]))
        writer.write("a", np.int16([4]))
        writer.commit()

    loaded = load_file(tmp_path / "o")
    np.testing.assert_array_equal(loaded["a"], [1, 2, 3, 4])
    np.testing.assert_array_equal(loaded["b"], [[1, 2], [3, 4]])


def test_wrong_names_and_lengths_are_refused(tmp_path):
    """An unknown tensor, too many bytes and too few bytes are errors, and no file appears."""
    specs = [("a", spec("float32", 2)), ("b", spec("float32", 2))]
    with SafetensorsWriter(tmp_path / "o", specs, {}) as writer:
        with pytest.raises(OutputError, match="'c'"):
            writer.write("c", np.ones(2, np.float32))
        with pytest.raises(OutputError, match="12 bytes"):
            writer.write("a", np.ones(3, np.float32))
        writer.write("b", np.ones(2, np.float32))
        writer.write("a", np.ones(1, np.float32))
        with pytest.raises(OutputError, match=r"tensor 'a'.*4 bytes more") as caught:
            writer.commit()

    assert caught.value.code == "output/incomplete"
    assert list(tmp_path.iterdir()) == []
