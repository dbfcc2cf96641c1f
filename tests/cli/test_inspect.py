"""`porter inspect`: what a checkpoint holds, known or not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from checkpoints.bundle_writer import Bundle
from checkpoints.keras_writer import hdf5, layer
from cli.command_line import run
from safetensors.numpy import save_file


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint of two tensors that no table knows."""
    bundle = Bundle()
    bundle.put("dense/bias", np.zeros(4, np.float32))
    bundle.put("dense/kernel", np.zeros((3, 4), np.float32))
    return bundle.store(tmp_path / "ckpt-1")


def test_inspect_shows_every_tensor_of_an_unknown_network(checkpoint):
    """Format and count stand first; each tensor is a line with its type and shape."""
    lines = run("inspect", checkpoint).stdout.splitlines()

    assert "TensorBundle" in next(line for line in lines if line.startswith("format"))
    assert next(line for line in lines if line.startswith("tensors")).split()[1] == "2"
    assert sum("float32" in line for line in lines) == 2


def test_quiet_is_the_summary_alone(checkpoint):
    """-q leaves out the tensors."""
    summary = run("inspect", checkpoint, "-q").stdout

    assert summary
    assert run("inspect", checkpoint).stdout.startswith(summary)
    assert "float32" not in summary


def test_json_holds_the_same_tensors(checkpoint):
    """--json prints one document and nothing else."""
    document = json.loads(run("inspect", checkpoint, "--json").stdout)

    assert len(document["tensors"]) == 2


def test_a_keras_file_is_shown_in_the_order_of_its_layers(tmp_path):
    """Each variable is listed with its layer's name, in the model's order and not the alphabet's."""

    def build(file):
        file.attrs["layer_names"] = np.array([b"stem", b"middle", b"classifier"])
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.4.0"
        for name in ("stem", "middle", "classifier"):
            layer(file, name, {"kernel": np.zeros((2, 2), np.float32), "bias": np.zeros(2, np.float32)})

    model = tmp_path / "model.h5"
    model.write_bytes(hdf5(build))

    shown = [line.split()[1] for line in run("inspect", model).stdout.splitlines() if "float32" in line]

    assert shown == [
        "stem/kernel:0",
        "stem/bias:0",
        "middle/kernel:0",
        "middle/bias:0",
        "classifier/kernel:0",
        "classifier/bias:0",
    ]


def test_layers_of_a_file_with_its_network_are_shown_as_they_are_run(tmp_path):
    """Kinds, names, attributes and what each takes; the same in --json."""
    model = Path(__file__).parents[1] / "checkpoints" / "written_by_keras_2_12" / "nested.full.h5"

    shown = run("inspect", model).stdout.partition("layers in order of execution")[2].splitlines()[2:]
    layers = json.loads(run("inspect", model, "--json").stdout)["layers"]

    assert [line.split()[1] for line in shown[1:4]] == ["conv", "norm", "relu"]
    assert shown[1].split()[2] == layers[1]["name"] == "conv2d_2"
    assert "kernel 3x3" in shown[1]
    assert layers[1]["attributes"]["kernel"] == [3, 3]
    assert layers[3]["takes"] == [2]
    assert shown[8].split()[1] == layers[8]["attributes"]["class_name"] == "Lambda"


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"porter.source": '"ckpt-1"', "format": "pt"}, "ckpt-1"),
        ({"format": "pt"}, "porter did not write this file"),
    ],
)
def test_a_safetensors_file_is_shown_with_where_it_came_from(tmp_path, metadata, said):
    """A port shows its provenance; of a file of others its tensors are shown, and that nothing is known."""
    file = tmp_path / "model.safetensors"
    save_file({"fc.weight": np.zeros((2, 3), np.float32)}, file, metadata)

    shown = run("inspect", file).stdout
    document = json.loads(run("inspect", file, "--json").stdout)

    assert said in shown
    assert "fc.weight" in shown
    assert document["provenance"] == ({"source": "ckpt-1"} if "porter.source" in metadata else None)
    assert document["tensors"] == [{"key": "fc.weight", "dtype": "F32", "shape": [2, 3]}]
