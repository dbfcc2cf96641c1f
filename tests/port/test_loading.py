"""What porter says of a file that no network can be built for; a folder of shards is as good as a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file

import porter
from porter.cli.main import main
from porter.errors import OutputError, PlanError, PorterError
from porter.loading.ported_file import read_metadata
from porter.outputs.output_options import OutputOptions
from porter.outputs.port import carry_out
from porter.planning.plan import plan
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables

TABLES = load_tables()
UNPADDABLE = [
    3,
    {"blocks.0": [[0, 1], [0, 1]]},
    {"conv_stem": 3},
    {"conv_stem": [[0, 1]]},
    {"conv_stem": [[0, 1], [0, "1"]]},
    {"conv_stem": [[0, 1], [0, -1]]},
]


def written(out, **form):
    """Port seeded weights of the smallest network."""
    checkpoint = RandomCheckpoint(TABLES.variant("conv_small"), 0)
    made = plan(checkpoint, TABLES, variant="mobilenetv4_conv_small")
    return Path(carry_out(checkpoint, made, out, form=OutputOptions(**form)).out)


@pytest.fixture(scope="module")
def stored(module_folder):
    """Return the metadata of a port."""
    return dict(read_metadata(written(module_folder("stored") / "m.safetensors")).metadata)


def refusal(path):
    """Return what `load_model` says."""
    pytest.importorskip("timm", reason="needs the [torch] extra")
    with pytest.raises(OutputError) as refused:
        porter.load_model(path)
    return refused.value


@pytest.mark.torch
@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("porter.model", "nonexistent_net", "load/no-network"),
        ("porter.arguments", '{"bogus": 1}', "load/no-network"),
        ("porter.arguments", "0", "load/not-ported"),
        ("porter.input", "{}", "load/not-ported"),
        ("porter.input", "null", "load/not-ported"),
        ("porter.input", "{", "load/not-ported"),
        ("porter.target", "[]", "load/not-ported"),
        ("porter.target", '{"library": "transformers"}', "load/other-library"),
    ],
)
def test_metadata_that_porter_did_not_write_are_refused(stored, tmp_path, key, value, code):
    """Whatever stands there, the answer is one clear line."""
    path = tmp_path / "m.safetensors"
    save_file({"x": np.zeros(1)}, path, metadata={**stored, key: value})

    assert refusal(path).code == code


@pytest.mark.torch
def test_damaged_shard_is_named(tmp_path):
    """A shard that was cut off is not a crash."""
    folder = written(tmp_path / "shards", max_shard_size=10_000_000)
    last = max(folder.glob("*.safetensors"))
    last.write_bytes(last.read_bytes()[:-1000])

    error = refusal(folder)
    assert (error.code, error.file) == ("load/unreadable", str(last))


def test_folder_of_two_ports_is_refused(tmp_path):
    """Without an index nothing says that two files belong together: their weights are not mixed."""
    written(tmp_path / "model.safetensors")
    written(tmp_path / "model_old.safetensors")

    with pytest.raises(OutputError) as refused:
        read_metadata(tmp_path)
    assert refused.value.code == "load/missing-shards"


def test_metadata_of_shards_are_those_of_a_file(stored, tmp_path):
    """Every command that reads a port reads a folder of shards."""
    found = read_metadata(written(tmp_path / "shards", max_shard_size=10_000_000))

    assert json.loads(found.metadata["porter.input"]) == json.loads(stored["porter.input"])


@pytest.mark.onnx
def test_shards_can_be_exported(tmp_path):
    """The graph holds the same weights as the shards."""
    onnx = pytest.importorskip("onnx", reason="needs the [onnx] extra")
    folder, out = written(tmp_path / "shards", max_shard_size=10_000_000), tmp_path / "m.onnx"
    run = CliRunner().invoke(main, ["export-onnx", str(folder), str(out), "--size", "64"])

    assert run.exit_code == 0, run.output
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(out).graph.initializer}
    kernel = {name: value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()}
    np.testing.assert_array_equal(held["conv_stem.weight"], kernel["conv_stem.weight"])


def test_folded_norms_and_another_library_exclude_each_other(tmp_path):
    """The command refuses it as wrong usage; the function must not leave it out silently."""
    checkpoint = RandomCheckpoint(TABLES.variant("hf_mobilevit_xxs"), 0)
    made = plan(checkpoint, TABLES, variant="hf_mobilevit_xxs")
    with pytest.raises(OutputError) as refused:
        carry_out(checkpoint, made, tmp_path / "m", form=OutputOptions(target="transformers", fold_bn=True))
    assert refused.value.code == "output/folded"
    assert list(tmp_path.iterdir()) == []


def test_graph_must_be_called_so(tmp_path):
    """Above all, a port is not overwritten by its own export."""
    path = written(tmp_path / "m.safetensors")
    before = path.read_bytes()

    assert CliRunner().invoke(main, ["export-onnx", str(path), str(path)]).exit_code == 2
    assert path.read_bytes() == before


def test_library_and_length_of_shards_are_held_against_what_there_is(tmp_path):
    """A misspelt library and an impossible length are refused by the functions, too."""
    with pytest.raises(PlanError, match="'timm' or 'transformers' or 'netspresso' or 'hub-folder'"):
        porter.port("nowhere", tmp_path / "m", target="transformer")
    with pytest.raises(OutputError, match="at least one byte"):
        porter.port("nowhere", tmp_path / "m", max_shard_size=-1)


@pytest.mark.torch
def test_printed_line_prepares_images_as_the_source_does(tmp_path, monkeypatch):
    """What timm itself has for this network are other numbers."""
    timm = pytest.importorskip("timm", reason="needs the [torch] extra")
    checkpoint = RandomCheckpoint(TABLES.variant("slim_mobilenetv2_035"), 0)
    made = plan(checkpoint, TABLES, variant="slim_mobilenetv2_035")
    monkeypatch.chdir(tmp_path)
    line = carry_out(checkpoint, made, "m.safetensors").loading_line
    plain = eval(line, {"timm": timm})  # noqa: S307 (what a person is told to run)

    stated = timm.data.resolve_model_data_config(plain)
    assert stated == timm.data.resolve_model_data_config(porter.load_model("m.safetensors"))
    assert stated["mean"] == made.input_spec.mean == (0.5, 0.5, 0.5)


@pytest.mark.torch
def test_nothing_is_drawn_that_the_file_replaces(tmp_path):
    """Random weights take time, and would move the state of a person's generator."""
    torch = pytest.importorskip("torch")
    out = written(tmp_path / "m.safetensors")
    torch.manual_seed(7)
    before = torch.get_rng_state()

    state = porter.load_model(out).state_dict()

    assert torch.equal(torch.get_rng_state(), before)
    assert all(np.array_equal(state[name].numpy(), value) for name, value in load_file(out).items())


@pytest.mark.torch
def test_constants_are_set_where_nothing_is_drawn():
    """A norm's ones and zeros, and what else a network computes as it is built, are not left out."""
    torch = pytest.importorskip("torch")
    from porter.networks.no_drawing import NoDrawing

    with NoDrawing():
        norm, kept = torch.nn.BatchNorm2d(3), torch.nn.Parameter(torch.full((4,), 3.0))
        torch.nn.init.normal_(kept)
    assert kept.tolist() == [3.0] * 4
    assert norm.weight.tolist() == [1.0] * 3
    assert norm.running_mean.tolist() == [0.0] * 3


@pytest.mark.torch
@pytest.mark.parametrize(
    "padding",
    [
        3,
        {"blocks.0": [[0, 1], [0, 1]]},
        *({"conv_stem": x} for x in (3, [[0, 1]], [[0, 1], [0, "1"]], [[0, 1], [0, -1]])),
    ],
)
def test_padding_that_nothing_can_pad_is_refused(stored, tmp_path, padding):
    """What a file says of its network is checked, also where porter would never write it."""
    pytest.importorskip("torch")
    tensors = load_file(written(tmp_path / "m.safetensors"))
    save_file(
        tensors, tmp_path / "bad.safetensors", stored | {"porter.adjust": json.dumps({"padding": padding})}
    )

    with pytest.raises(PorterError) as refused:
        porter.load_model(tmp_path / "bad.safetensors")

    assert refused.value.code in ("network/adjustment", "same-padding/amounts")
