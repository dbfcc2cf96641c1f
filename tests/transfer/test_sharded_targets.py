"""Shards of what is not the plain port to timm: folded networks, other libraries, folders for a hub."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

import porter
from porter.cli.main import main
from porter.errors import OutputError
from porter.outputs.output_options import OutputOptions
from porter.outputs.port import carry_out
from porter.planning.plan import plan
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables
from porter.transfer.sharded_writer import INDEX

TABLES = load_tables()
LIMIT = 4_000_000


def planned(name):
    """Return random weights and the plan that ports them."""
    checkpoint = RandomCheckpoint(TABLES.variants[name], 0)
    return checkpoint, plan(checkpoint, TABLES, variant=name)


def shards(folder):
    """Return every tensor of a folder of shards; its index must list them."""
    weight_map = json.loads((folder / INDEX).read_text())["weight_map"]
    files = sorted(folder.glob("*.safetensors"))
    found = {name: value for file in files for name, value in load_file(file).items()}
    assert len(files) > 1
    assert {name: folder / file for name, file in weight_map.items()}.keys() == found.keys()
    return found


def assert_equal(found, expected):
    """Both hold the same tensors, bit for bit."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, strict=True)


@pytest.mark.torch
def test_folded_network_in_shards_is_the_folded_network(tmp_path):
    """Shards hold what one file of folded weights holds; porter and the printed recipe load them."""
    pytest.importorskip("timm")
    checkpoint, made = planned("mobilenetv4_conv_small")
    carry_out(checkpoint, made, tmp_path / "whole.safetensors", form=OutputOptions(fold_bn=True))
    result = carry_out(
        checkpoint, made, tmp_path / "shards", form=OutputOptions(fold_bn=True, max_shard_size=LIMIT)
    )

    expected = load_file(tmp_path / "whole.safetensors")
    assert_equal(shards(tmp_path / "shards"), expected)
    state = porter.load_model(tmp_path / "shards").state_dict()
    assert_equal({name: tensor.numpy() for name, tensor in state.items()}, expected)
    assert result.loading_line == f"porter.load_model({str(tmp_path / 'shards')!r})"
    (printed,) = result.output.alternatives(result.out)

    names = {}
    exec(printed.partition("\n\n")[2], names)  # noqa: S102 (what a person is told to run)
    found = names["model"].state_dict()
    assert_equal({name: tensor.numpy() for name, tensor in found.items()}, expected)


def test_transformers_folder_may_be_sharded(tmp_path):
    """Config, preprocessor, shards and index: what from_pretrained looks for, with the same tensors."""
    checkpoint, made = planned("garden_mobilenetv2_100")
    carry_out(checkpoint, made, tmp_path / "whole", form=OutputOptions(target="transformers"))
    sharded = OutputOptions(target="transformers", max_shard_size=LIMIT)
    result = carry_out(checkpoint, made, tmp_path / "shards", form=sharded)

    assert_equal(shards(tmp_path / "shards"), load_file(tmp_path / "whole" / "model.safetensors"))
    for file in ("config.json", "preprocessor_config.json"):
        assert (tmp_path / "shards" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert "from_pretrained" in result.loading_line


def test_file_for_netspresso_is_never_sharded(tmp_path):
    """Its networks load one file, and the refusal says so; nothing is written."""
    checkpoint, made = planned("mobilenetv4_conv_small")
    out = tmp_path / "out.safetensors"

    with pytest.raises(OutputError, match="load one file") as caught:
        carry_out(checkpoint, made, out, form=OutputOptions(target="netspresso", max_shard_size=LIMIT))

    assert caught.value.code == "output/shards"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--hub-folder", "F", "--max-shard-size", "5MB"], "timm would load the first alone"),
        (["--hub-folder", "F", "--fold-bn"], "timm builds the network with its norms"),
        (["--hub-folder", "F", "--target", "transformers"], "timm builds the network with its norms"),
        (["O", "--target", "netspresso", "--max-shard-size", "5MB"], "load one file"),
        (["O", "--target", "transformers", "--fold-bn"], "no other library has the network without norms"),
    ],
)
def test_options_that_do_not_go_together_are_refused_with_the_reason(options, reason):
    """Exit code 2, before anything is opened."""
    result = CliRunner().invoke(main, ["port-weights", "nowhere", *options])

    assert result.exit_code == 2
    assert reason in " ".join(result.output.split())
