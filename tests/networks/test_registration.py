"""Timm knows porter's networks after ``import porter``, which imports neither timm nor torch."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import porter
from porter.errors import OutputError, TableError
from porter.networks.catalogue import PREFIX, list_networks
from porter.outputs.port import carry_out
from porter.planning.plan import plan
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.index import mappings_folder
from porter.tables.shipped import load_tables

ROOT = Path(__file__).parent.parent.parent
NAME = "garden_mobilenetv4_conv_small_050"
BUILD = """
print(sorted({name.split(".")[0] for name in sys.modules} & {"timm", "torch"}))
import timm, torch
model = timm.create_model("porter_mobilenetv4_conv_small_050", num_classes=7, in_chans=1, bn_eps=0.5).eval()
print(len(timm.list_models("porter_*")) > 10, tuple(model(torch.zeros(1, 1, 64, 64)).shape), model.bn1.eps)
print(model.pretrained_cfg["architecture"], model.pretrained_cfg["input_size"], model.pretrained_cfg["mean"])
"""


def output(program):
    """Run a program in a process of its own and return the lines it prints."""
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


@pytest.mark.torch
@pytest.mark.parametrize(
    ("imports", "loaded"),
    [("import sys, porter", "[]"), ("import sys, timm, porter", "['timm', 'torch']")],
)
def test_timm_builds_porters_networks(imports, loaded):
    """Whether timm is imported before porter or after it, its registry has the networks of the tables."""
    pytest.importorskip("timm", reason="needs timm")

    assert output(imports + BUILD) == [
        loaded,
        "True (1, 7) 0.5",
        "porter_mobilenetv4_conv_small_050 (1, 224, 224) (0.485, 0.456, 0.406)",
    ]


def test_import_leaves_no_trace_where_timm_is_missing():
    """Looking for timm where there is none is as it always was."""
    program = """
        import sys, porter
        sys.path = [path for path in sys.path if "site-packages" not in path]
        try:
            import timm
        except ModuleNotFoundError as error:
            print(error.name)
    """

    assert output(program) == ["timm"]


def test_every_network_of_the_tables_is_porters_own_by_name():
    """A variant with a definition has a name that timm cannot have, and no other variant has."""
    listed = list_networks(mappings_folder())
    variants = load_tables().variants.values()

    assert {v.target.name for v in variants if v.network is not None} == set(listed)
    assert all(name.startswith(PREFIX) for name in listed)
    assert not any(v.target.name.startswith(PREFIX) for v in variants if v.network is None)


def test_one_name_for_two_networks_is_refused(tmp_path):
    """A name is that of one network, for timm has one registry."""
    (tmp_path / "source").mkdir()
    for number, base in enumerate(("resnet50", "resnet101")):
        (tmp_path / "source" / f"{number}.toml").write_text(
            f'[variant.v{number}]\ntarget = {{ model = "porter_x" }}\nnetwork = {{ base = "{base}" }}\n'
        )

    with pytest.raises(TableError, match="'porter_x' is another network elsewhere"):
        list_networks(tmp_path)


@pytest.mark.torch
def test_file_of_an_unknown_table_loads_from_itself(tmp_path):
    """A ported file carries the definition of its network; a table that was not shipped is not needed."""
    pytest.importorskip("timm", reason="needs timm")
    text = load_tables().variants[NAME].table.read_text().replace("porter_mobilenetv4", "porter_mine")
    (tmp_path / "mine.toml").write_text(text)
    tables = load_tables(tmp_path / "mine.toml")
    checkpoint = RandomCheckpoint(tables.variants[NAME], 0)
    made = plan(checkpoint, tables, variant=NAME)
    carry_out(checkpoint, made, tmp_path / "out.safetensors")

    state = porter.load_model(tmp_path / "out.safetensors").state_dict()

    assert made.variant.target.name == "porter_mine_conv_small_050"
    found = load_file(tmp_path / "out.safetensors")
    assert set(state) == set(found)
    assert all(np.array_equal(state[key].numpy(), value) for key, value in found.items())


@pytest.mark.torch
def test_malformed_definition_in_a_file_is_refused(tmp_path):
    """What a file says of its network is checked before anything is built from it."""
    pytest.importorskip("timm", reason="needs timm")
    from safetensors.numpy import save_file

    metadata = {"porter.variant": "v", "porter.model": "porter_x", "porter.arguments": "{}"}
    metadata["porter.input"] = '{"size": 32, "mean": [0.5], "std": [0.5], "crop_pct": 1, "interpolation": ""}'
    metadata["porter.network"] = '{"base": "resnet18", "adjust": ["os.system"]}'
    save_file({"x": np.zeros(1, np.float32)}, tmp_path / "bad.safetensors", metadata)

    with pytest.raises(OutputError, match=r"unknown adjustment 'os\.system'"):
        porter.load_model(tmp_path / "bad.safetensors")
