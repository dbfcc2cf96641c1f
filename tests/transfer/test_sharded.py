import json

import click
import numpy as np
import pytest
from safetensors.numpy import load_file

import porter
import porter.transfer.safetensors_writer
from porter.cli.byte_size_option import ByteSize
from porter.core.checkpoint import TensorSpec
from porter.core.dtypes import BY_NAME
from porter.errors import OutputError
from porter.outputs.output_options import OutputOptions
from porter.outputs.port import carry_out
from porter.planning.plan import plan
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables
from porter.transfer.sharded_writer import INDEX, ShardedWriter
from porter.transfer.transfer import Writing

TABLES = load_tables()
SMALL = "mobilenetv4_conv_small"
LIMIT = 4_000_000
SHARDS = OutputOptions(max_shard_size=LIMIT)
FLOAT = BY_NAME["float32"]


@pytest.fixture(scope="module")
def planned():
    """Random weights of a network of 15 MB, and the plan that ports them."""
    checkpoint = RandomCheckpoint(TABLES.variants[SMALL], 0)
    return checkpoint, plan(checkpoint, TABLES, variant=SMALL)


def test_shards_hold_what_one_file_holds(planned, tmp_path):
    """Every tensor is in the shard that the index names, bit for bit that of the single file."""
    checkpoint, made = planned
    carry_out(checkpoint, made, tmp_path / "whole.safetensors")
    result = carry_out(checkpoint, made, tmp_path / "shards", form=SHARDS)

    whole = load_file(tmp_path / "whole.safetensors")
    index = json.loads((tmp_path / "shards" / INDEX).read_text())
    files = sorted(set(index["weight_map"].values()))
    count = len(files)
    assert files == [f"model-{n + 1:05d}-of-{count:05d}.safetensors" for n in range(count)]
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == [*files, INDEX]
    assert set(index["weight_map"]) == set(whole)
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in whole.values())
    for file in files:
        held = load_file(tmp_path / "shards" / file)
        assert {name for name, where in index["weight_map"].items() if where == file} == set(held)
        assert sum(value.nbytes for value in held.values()) <= LIMIT or len(held) == 1
        for name, value in held.items():
            np.testing.assert_array_equal(value, whole[name], strict=True)
    assert result.report.path == tmp_path / "shards"
    assert result.report.tensors == len(whole)


def test_one_shard_needs_no_index(planned, tmp_path):
    """Where everything fits into one file there is one, under Hugging Face's name for it."""
    checkpoint, made = planned
    carry_out(checkpoint, made, tmp_path / "out", form=OutputOptions(max_shard_size="1GB"))

    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.safetensors"]


def test_interrupted_port_leaves_nothing(planned, tmp_path):
    """An error half-way leaves neither the folder nor a hidden one."""
    checkpoint, made = planned

    def stop(done, total):
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(checkpoint, made, tmp_path / "out", form=SHARDS, writing=Writing(stop))

    assert list(tmp_path.iterdir()) == []


def test_folder_that_holds_something_is_refused(planned, tmp_path):
    """Somebody's files are neither mixed with the shards nor replaced by them."""
    checkpoint, made = planned
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(OutputError) as caught:
        carry_out(checkpoint, made, tmp_path, form=SHARDS)

    assert caught.value.code == "output/not-empty"
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_absurdly_small_shards_are_refused(tmp_path):
    """Thousands of open files are no help to anybody; the message says what to change."""
    tensors = [(str(n), TensorSpec(FLOAT, (4,))) for n in range(201)]

    with pytest.raises(OutputError, match="--max-shard-size") as caught:
        ShardedWriter(tmp_path, tensors, {}, limit=16)

    assert caught.value.code == "output/too-many-shards"
    assert list(tmp_path.iterdir()) == []


def test_tensor_above_the_limit_has_a_shard_of_its_own(tmp_path):
    """A tensor is never cut: the limit gives way, and its neighbours go elsewhere."""
    specs = {"a": 2, "big": 100, "b": 2}
    tensors = [(name, TensorSpec(FLOAT, (size,))) for name, size in specs.items()]
    with ShardedWriter(tmp_path, tensors, {}, limit=16) as writer:
        for name, size in specs.items():
            writer.write(name, np.full(size, size, np.float32))
        writer.commit()

    assert [sorted(load_file(tmp_path / file)) for file in writer.files] == [["a"], ["big"], ["b"]]


@pytest.mark.torch
def test_shards_load_with_porter_and_with_hugging_face(planned, tmp_path):
    """The folder loads strictly through porter, and through huggingface_hub's own loader of such folders."""
    torch = pytest.importorskip("torch")
    hub = pytest.importorskip("huggingface_hub")
    checkpoint, made = planned
    result = carry_out(checkpoint, made, tmp_path / "out", form=SHARDS)

    model = porter.load_model(tmp_path / "out")
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    hub.load_torch_model(model, tmp_path / "out", strict=True)

    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert result.loading_line == f"porter.load_model({str(tmp_path / 'out')!r})"


@pytest.mark.torch
def test_missing_shard_is_named_when_loading(planned, tmp_path):
    """A folder that lost a shard is refused by what its index lists."""
    pytest.importorskip("torch")
    checkpoint, made = planned
    carry_out(checkpoint, made, tmp_path / "out", form=SHARDS)
    next((tmp_path / "out").glob("model-00002-*")).unlink()

    with pytest.raises(OutputError, match="model-00002-of") as caught:
        porter.load_model(tmp_path / "out")

    assert caught.value.code == "load/missing-shards"


@pytest.mark.parametrize(
    ("text", "size"), [("5GB", 5 * 10**9), ("200 mb", 2 * 10**8), ("10k", 10**4), ("1000", 1000), ("7B", 7)]
)
def test_size_is_read_as_people_write_it(text, size):
    """Units are powers of ten, as Hugging Face counts them."""
    assert ByteSize().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "0", "GB", "-5GB", "5 GiB", "1.5GB", "9" * 30])
def test_what_is_no_size_is_refused(text):
    """A size that cannot be meant is a usage error."""
    with pytest.raises(click.BadParameter):
        ByteSize().convert(text, None, None)


def test_shard_that_rests_goes_on_where_it_was(tmp_path, monkeypatch):
    """Long tensors that take turns arrive whole, and one shard at a time holds memory for them."""
    monkeypatch.setattr(porter.transfer.safetensors_writer, "_LONG_BYTES", 1 << 10)
    rng = np.random.default_rng(0)
    values = {name: rng.standard_normal(5000).astype("f4") for name in "abc"}
    tensors = [(name, TensorSpec(FLOAT, value.shape)) for name, value in values.items()]
    with ShardedWriter(tmp_path, tensors, {}, limit=20_000) as writer:
        for start in range(0, 5000, 1250):
            for name, value in values.items():
                writer.write(name, value[start : start + 1250])
                assert sum(shard._file._direct is not None for shard in writer._shards) == 1
        writer.commit()

    assert len(writer.files) == len(values) == 3
    for name, file in zip("abc", writer.files, strict=True):
        np.testing.assert_array_equal(values[name], load_file(tmp_path / file)[name], strict=True)
