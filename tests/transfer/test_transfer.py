import hashlib
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import safetensors
from file_checkpoint import CHILD_ENVIRONMENT, FileCheckpoint, words
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

import porter.transfer.moving
import porter.transfer.safetensors_writer
import porter.transfer.tensor_blocks
from porter.core.assignments import Assignment
from porter.core.layouts import parse_layout
from porter.errors import OutputError, PlanError
from porter.transfer.transfer import Writing, transfer

PATTERNS = {
    "h w i o -> o i h w": 4,
    "h w c m -> (c m) 1 h w": 4,
    "i o -> o i": 2,
    "i o -> o i 1 1": 2,
    "h k d -> (h k) d 1 1": 3,
    "d h v -> d (h v) 1 1": 3,
    "1 1 i o -> o i": 4,
    "c -> c": 1,
    "a b c -> a b c": 3,
    "a b c -> c b a": 3,
    " -> ": 0,
}
STORED = ["float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool", "uint16"]


@st.composite
def layout_and_array(draw):
    """Draw a layout pattern and an array that fits its left side."""
    pattern = draw(st.sampled_from(sorted(PATTERNS)))
    left = parse_layout(pattern).source
    shape = tuple(draw(st.integers(0, 9)) if group else 1 for group in left)
    return pattern, words(draw(st.integers(0, 2**32)), draw(st.sampled_from(STORED)), shape)


def raw(path, name):
    """Return the bytes of one tensor, found by reading the header ourselves."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    begin, end = json.loads(data[8:start])[name]["data_offsets"]
    return data[start + begin : start + end]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=layout_and_array(),
    threshold=st.sampled_from([16, 64, 1 << 20]),
    sizes=st.tuples(*[st.integers(16, 300)] * 2),
)
def test_bits_survive_every_layout_and_block_size(tmp_path, case, threshold, sizes):
    """The bytes in the file are those of the rearranged array, read whole or in blocks of any size."""
    pattern, array = case
    source = FileCheckpoint(tmp_path, {"v": array})
    out = tmp_path / "o.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(porter.transfer.tensor_blocks, "WHOLE_BYTES", threshold)
        patch.setattr(porter.transfer.tensor_blocks, "BLOCK_BYTES", sizes[0])
        patch.setattr(porter.transfer.tensor_blocks, "PIECE_BYTES", sizes[1])
        transfer(source, [source.assign("t", ("v", pattern))], out)

    expected = np.ascontiguousarray(parse_layout(pattern).apply(array))
    assert raw(out, "t") == expected.tobytes()
    loaded = load_file(out)["t"]
    assert (loaded.dtype, loaded.shape) == (expected.dtype, parse_layout(pattern).target_shape(array.shape))


@pytest.mark.parametrize(
    "pattern", ["i o -> o i", "h w i o -> o i h w", "h w c m -> (c m) 1 h w", "a b c -> a b c"]
)
def test_blocks_give_the_same_file_as_whole_reads(sources, folder, monkeypatch, pattern):
    """Large variables, read block by block through tiles, give the file that a whole read gives."""
    shape = {2: (700, 3000), 3: (70, 30, 1000), 4: (3, 3, 400, 600)}[PATTERNS[pattern]]
    source = FileCheckpoint(sources, {"v": words(1, "float32", shape)})
    for name, threshold, block in (("whole", 1 << 30, 1 << 30), ("blocks", 0, 1 << 20), ("tiny", 0, 4096)):
        monkeypatch.setattr(porter.transfer.tensor_blocks, "WHOLE_BYTES", threshold)
        monkeypatch.setattr(porter.transfer.tensor_blocks, "BLOCK_BYTES", block)
        monkeypatch.setattr(
            porter.transfer.safetensors_writer, "_LONG_BYTES", 1 if name == "blocks" else 1 << 30
        )
        transfer(source, [source.assign("t", ("v", pattern))], folder / name)

    assert (
        raw(folder / "whole", "t")
        == np.ascontiguousarray(parse_layout(pattern).apply(source.arrays["v"])).tobytes()
    )
    assert (folder / "blocks").read_bytes() == (folder / "whole").read_bytes()
    assert (folder / "tiny").read_bytes() == (folder / "whole").read_bytes()
    assert source.verified == ["v", "v"]


def test_parts_are_joined_along_the_first_axis(sources, folder):
    """Query, key and value become one tensor in the order of the parts."""
    arrays = {name: words(i, "float32", (4, 3)) for i, name in enumerate("qkv")}
    source = FileCheckpoint(sources, arrays)
    item = source.assign("qkv", *((name, "i o -> o i") for name in "qkv"))
    transfer(source, [item], folder / "o")

    assert raw(folder / "o", "qkv") == np.concatenate([a.T for a in arrays.values()]).tobytes()


def test_constant_is_an_int64_scalar(sources, folder):
    """A target that TensorFlow has no counterpart for holds its constant."""
    source = FileCheckpoint(sources, {})
    transfer(source, [Assignment("num_batches_tracked", (), constant=7)], folder / "o")

    loaded = load_file(folder / "o")["num_batches_tracked"]
    assert (loaded.dtype, loaded.shape, int(loaded)) == (np.int64, (), 7)


def test_offset_is_added_in_float64(sources, folder):
    """An offset too small for float32 to add in two steps is rounded once."""
    values = np.array([1.0, 3.5, 1e-3], np.float32)
    source = FileCheckpoint(sources, {"v": values})
    transfer(source, [source.assign("t", ("v", "c -> c"), offset=-1e-3)], folder / "o")

    expected = (values.astype(np.float64) - 1e-3).astype(np.float32)
    np.testing.assert_array_equal(load_file(folder / "o")["t"], expected)


def test_scale_and_offset_are_rounded_once(sources, folder):
    """A factor is applied in float64 and rounded together with the offset."""
    values = words(3, "float32", (50,))
    values = np.where(np.isfinite(values), values, 1).astype(np.float32)
    source = FileCheckpoint(sources, {"v": values})
    part = source.part("v", "c -> c")._replace(scale=1.00002)
    transfer(source, [Assignment("t", (50,), (part,), offset=0.1)], folder / "o")

    expected = (values.astype(np.float64) * 1.00002 + 0.1).astype(np.float32)
    np.testing.assert_array_equal(load_file(folder / "o")["t"], expected)


@pytest.mark.parametrize("chunk", [1 << 18, 3])
def test_subtracted_variables_line_up_with_their_parts(sources, folder, monkeypatch, chunk):
    """The biases of two convolutions go into two joined moving means, each to its own channel, in float64."""
    monkeypatch.setattr(porter.transfer.moving, "_CHUNK", chunk)
    arrays = {
        name: np.linspace(0.1, 0.7, n).astype(np.float32)
        for name, n in zip("abcd", (5, 8, 4, 9), strict=True)
    }
    source = FileCheckpoint(sources, arrays)
    a, b, c, d = (source.part(name, "c -> c") for name in "abcd")
    transfer(source, [Assignment("t", (13,), (a, b), subtract=(c, d))], folder / "o", dtype="float64")

    wide = {name: array.astype(np.float64) for name, array in arrays.items()}
    expected = np.concatenate([wide["a"], wide["b"]]) - np.concatenate([wide["c"], wide["d"]])
    np.testing.assert_array_equal(load_file(folder / "o")["t"], expected)


def test_subtracted_variables_must_have_the_targets_shape(sources, folder):
    """A bias of another length is refused before anything is written."""
    source = FileCheckpoint(sources, {"a": np.ones(3, np.float32), "b": np.ones(4, np.float32)})
    a, b = (source.part(name, "c -> c") for name in "ab")
    with pytest.raises(PlanError, match="'t'"):
        transfer(source, [Assignment("t", (3,), (a,), subtract=(b,))], folder / "o")

    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "selection",
    [(slice(None), slice(1, None)), (slice(None, None, -1), slice(None)), (slice(2, 5), slice(4, 0, -1))],
)
@pytest.mark.parametrize("threshold", [1 << 30, 0])
def test_selection_is_taken_before_the_layout_changes(sources, folder, monkeypatch, selection, threshold):
    """A row is left out and an axis turned round, whether the variable is read whole or in blocks."""
    monkeypatch.setattr(porter.transfer.tensor_blocks, "WHOLE_BYTES", threshold)
    monkeypatch.setattr(porter.transfer.tensor_blocks, "BLOCK_BYTES", 40)
    source = FileCheckpoint(sources, {"v": words(1, "float32", (7, 9))})
    part = source.part("v", "i o -> o i")._replace(selection=selection)
    transfer(source, [Assignment("t", part.target_shape, (part,))], folder / "o")

    assert raw(folder / "o", "t") == np.ascontiguousarray(source.arrays["v"][selection].T).tobytes()


def test_same_input_gives_the_same_bytes(sources, folder):
    """Nothing of the time, place or order of a run is in the file."""
    source = FileCheckpoint(sources, {str(i): words(i, "float32", (i, 3)) for i in range(9)})
    items = [source.assign(key, (key, "i o -> o i")) for key in source.arrays]
    transfer(source, items, folder / "one", metadata={"a": "b"})
    transfer(source, items[::-1], folder / "two", metadata={"a": "b"})

    assert (folder / "one").read_bytes() == (folder / "two").read_bytes()


def test_header_names_sizes_and_digests_of_the_sources(sources, folder):
    """The metadata holds what the caller gave and each source file's name, size and SHA-256."""
    source = FileCheckpoint(sources, {"v": words(0, "float32", (1000,))})
    report = transfer(source, [source.assign("t", ("v", "c -> c"))], folder / "o", metadata={"variant": "ü"})

    digest = hashlib.sha256(source.path.read_bytes()).hexdigest()
    with safetensors.safe_open(folder / "o", "numpy") as file:
        found = file.metadata()
    assert found["variant"] == "ü"
    assert json.loads(found["porter.source_files"]) == [
        {"name": "weights.bin", "size": 4000, "sha256": digest}
    ]
    assert (report.sources[0].sha256, report.sources[0].size) == (digest, 4000)
    assert (report.nbytes, report.tensors) == ((folder / "o").stat().st_size, 1)


def test_progress_ends_at_the_length_of_the_data(sources, folder):
    """Progress grows and its last call tells that all tensor bytes were written."""
    source = FileCheckpoint(sources, {"v": words(0, "float32", (1000, 1000))})
    calls = []
    transfer(
        source,
        [source.assign("t", ("v", "a b -> a b"))],
        folder / "o",
        writing=Writing(lambda *c: calls.append(c)),
    )

    assert calls == sorted(calls)
    assert calls[-1][0] == 4_000_000
    assert {total for _, total in calls} == {(folder / "o").stat().st_size}


def findings(report):
    """Return kind -> (count, first index)."""
    return {finding.kind: (finding.count, finding.first) for finding in report.findings}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_bad_values_are_counted_and_located(sources, folder, dtype):
    """NaN, infinities and negative variances are reported with their number and first index, and kept."""
    values = np.ones((40, 50), dtype)
    values[3, 7] = values[20, 1] = np.nan
    values[4, 0], values[5, 0], values[39, 49] = np.inf, -np.inf, -0.5
    values[0, 0] = -0.0
    source = FileCheckpoint(sources, {"v": values})
    report = transfer(source, [source.assign("t", ("v", "a b -> b a"), is_variance=True)], folder / "o")

    assert findings(report) == {
        "nan": (2, (1, 20)),
        "infinity": (2, (0, 4)),
        "negative_variance": (2, (0, 5)),
    }
    assert "t: 2 of 2000 values are NaN, first at [1, 20]" in map(str, report.findings)
    np.testing.assert_array_equal(load_file(folder / "o")["t"], values.T)


def test_bad_values_are_found_in_bfloat16_words(sources, folder):
    """bfloat16, which numpy does not know, is checked by its words."""
    stored = np.array([0x3F80, 0x7FC0, 0xFF80, 0xBF80, 0x8000, 0x7F81], np.uint16)
    source = FileCheckpoint(sources, {"v": stored}, {"v": "bfloat16"})
    report = transfer(source, [source.assign("t", ("v", "c -> c"), is_variance=True)], folder / "o")

    assert findings(report) == {"nan": (2, (1,)), "infinity": (1, (2,)), "negative_variance": (2, (2,))}


def test_index_of_a_finding_counts_all_parts_and_blocks(sources, folder, monkeypatch):
    """The first index is that in the whole target, in whatever part and block the value lies."""
    monkeypatch.setattr(porter.transfer.tensor_blocks, "WHOLE_BYTES", 16)
    monkeypatch.setattr(porter.transfer.tensor_blocks, "BLOCK_BYTES", 4096)
    arrays = {"a": np.zeros((300, 20), np.float32), "b": np.zeros((300, 10), np.float32)}
    arrays["b"][299, 8] = arrays["b"][4, 9] = np.nan
    source = FileCheckpoint(sources, arrays)
    report = transfer(source, [source.assign("t", ("a", "i o -> o i"), ("b", "i o -> o i"))], folder / "o")

    assert findings(report) == {"nan": (2, (28, 299))}


def test_ordinary_values_give_no_findings(sources, folder):
    """Negative weights, zeros, integers and the largest finite numbers are nothing to report."""
    largest = np.finfo(np.float32).max
    source = FileCheckpoint(
        sources,
        {
            "f": np.array([-1, 0, largest, -largest], np.float32),
            "h": np.array([-65504, 65504], np.float16),
            "i": np.array([-(2**31)], np.int32),
        },
    )
    report = transfer(source, [source.assign(k, (k, "c -> c")) for k in "fhi"], folder / "o")

    assert report.findings == ()


def test_overflow_is_counted_apart_from_stored_infinities(sources, folder):
    """Finite values beyond float16 become infinities and are reported as overflow."""
    values = np.zeros(600_000, np.float32)
    values[[300_001, 300_000, 599_999]] = np.inf, 65520, -1e9
    values[7] = 65519  # rounds down to the largest finite float16
    source = FileCheckpoint(sources, {"v": values})
    report = transfer(source, [source.assign("t", ("v", "c -> c"))], folder / "o", dtype="float16")

    assert findings(report) == {"infinity": (1, (300_001,)), "overflow": (2, (300_000,))}


def test_only_floating_point_tensors_are_converted(sources, folder):
    """Integers and booleans keep their type whatever the output type."""
    source = FileCheckpoint(
        sources, {"f": words(0, "float64", (3,)), "i": words(1, "int32", (3,)), "b": words(2, "bool", (3,))}
    )
    transfer(source, [source.assign(k, (k, "c -> c")) for k in "fib"], folder / "o", dtype="float16")

    with safetensors.safe_open(folder / "o", "numpy") as file:
        assert {k: file.get_slice(k).get_dtype() for k in "fib"} == {"f": "F16", "i": "I32", "b": "BOOL"}


def test_float8_is_copied_but_not_converted(sources, folder):
    """float8 keeps its bits without an output type and is refused by name with one."""
    source = FileCheckpoint(sources, {"v": np.array([1, 0x7F], np.uint8)}, {"v": "float8_e4m3fn"})
    items = [source.assign("t", ("v", "c -> c"))]
    report = transfer(source, items, folder / "o")
    with pytest.raises(OutputError, match="float8_e4m3fn") as caught:
        transfer(source, items, folder / "o", dtype="float32")

    assert raw(folder / "o", "t") == b"\x01\x7f"
    assert findings(report) == {"nan": (1, (1,))}
    assert caught.value.code == "output/conversion"


def test_transfer_imports_only_numpy():
    """The port path stays light: no framework, no ml_dtypes, no thread pool."""
    heavy = {"tensorflow", "torch", "ml_dtypes", "concurrent", "rich", "click", "safetensors", "asyncio"}
    code = "import sys, porter.transfer; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=CHILD_ENVIRONMENT
    )

    assert heavy.isdisjoint(done.stdout.split())


def test_multi_gigabyte_shapes_are_cut_into_bounded_blocks():
    """Blocks cover any shape once, in order, within the limit even where one leading row exceeds it."""
    for shape in ((400_000, 1280), (2, 300_000_000), (1, 1, 7, 1_000_001), (5,), (0, 4)):
        sizes = [
            math.prod(s.stop - s.start for s in b)
            for b in porter.transfer.tensor_blocks._blocks(shape, 1 << 20)
        ]
        assert sum(sizes) == math.prod(shape)
        assert max(sizes, default=0) <= 1 << 20
