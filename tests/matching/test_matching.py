"""A mapping is found by running both networks, and called proved only where they compute the same."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

# What is wrong, the module that shows it first, and what is said of it.
FAULTS = [
    ("stride", "blocks.1.conv1", "stride 1 where the source has 2"),
    ("dilation", "blocks.1.conv1", "dilation 2 where the source has 1"),
    ("groups", "blocks.1.conv2", "no layer of the source is left"),
    ("activation first", "blocks.1.bn1", "ReLU of"),
    ("no activation", "blocks.1.conv2", "(norm)"),
    ("one norm twice", "blocks.1.bn1", ""),
    ("scaled branch", "blocks.2.conv1", ""),
    ("no shortcut", "blocks.2.conv1", ""),
    ("elu", "blocks.2.conv1", "ELU of"),
    ("no bias", "fc2", "has no place for the bias"),
    ("relu for leaky", "fc1", "takes"),
    ("slope", "fc1", "takes"),
    ("spare layer", "spare", "never runs"),
    ("token", "token", "not matched yet"),
    ("mirrored", "stem", "takes"),
    ("bgr", "stem", "takes"),
    ("uncapped", "blocks.0.conv1", "ReLU of"),
    ("channels turned", "dw", "takes"),
    ("extra pool", "dw", "takes"),
    ("no average", "fc1", "takes"),
    ("flatten", "fc1", "takes"),
    ("tanh", "fc2", "tanh of"),
    ("gelu", "fc2", "takes"),
    ("softmax", "the output", "differs"),
]


# The same for the transformer.
TRANSFORMER_FAULTS = [
    ("no scale", "token", "takes nothing"),
    ("unscaled", "attention.proj", "takes nothing"),
    ("no transpose", "token", "takes nothing"),
    ("token behind", "positions", "takes nothing"),
    ("no positions", "norm1", "takes the output of"),
    ("mean", "head", "takes nothing"),
    ("other heads", "attention.both.out_proj", "takes nothing"),
]


@pytest.fixture(scope="module")
def match_target(own_network):
    """Return a function from what is wrong with PyTorch's network to what a match finds."""
    pytest.importorskip("torch")
    from porter.runners.match_target import match

    def run(wrong="", module="own_network", source="tf_keras.keras"):
        target = {"library": "torch", "name": f"{module}:build", "arguments": {"wrong": wrong}}
        return match({**target, "folder": str(own_network / f"recorded {source}"), "threads": 1})

    return run


def test_variables_of_equal_values_leave_a_draft(own_network):
    """Norms that were never trained are alike, and nothing that is run tells whose variables are whose."""
    found = json.loads((own_network / "recorded tf_keras_untrained.keras" / "answer.json").read_text())

    assert any("only their order tells which layer is whose" in words for words in found["untested"])


def test_a_checkpoint_is_run_by_the_code_that_is_named(own_network):
    """The function builds the network, and the checkpoint's own values are what it computes with."""
    recorded, whole = (own_network / f"recorded {name}" for name in ("checkpoint-1", "tf_keras.keras"))
    found = json.loads((recorded / "answer.json").read_text())
    values = [np.load(folder / "weights0.npz").values() for folder in (recorded, whole)]

    assert found["untested"] == []
    assert len(found["shapes"]) == sum(len(each["variables"]) for each in found["operations"])
    assert sorted(v.tobytes() for v in values[0]) == sorted(v.tobytes() for v in values[1])


@pytest.mark.parametrize(("wrong", "module", "words"), FAULTS)
def test_wrong_network_is_never_proved_and_its_place_is_named(match_target, wrong, module, words):
    """The first finding names the module that is wrong, or the first that sees it."""
    found = match_target(wrong)

    assert found["findings"], wrong
    assert found["findings"][0].startswith(module)
    assert words in found["findings"][0]


@pytest.mark.parametrize("wrong", ["", "folded bias", "stem bias", "channels last"])
def test_every_way_of_computing_the_same_is_proved(match_target, wrong):
    """A bias before a norm and the order of a Flatten are matters of the mapping."""
    found = match_target(wrong)

    assert found["findings"] == []
    assert found["adjust"] == {"same_padding": True, "average_without_padding": ["average"]}
    assert max(run["worst"] for run in found["proof"]) < 1e-11
    assert {run["weights"] for run in found["proof"]} == {
        "the source's own weights",
        "random weights, seed 1",
        "random weights, seed 2",
        "random weights, seed 2, images x 30",
    }


def test_gates_are_found_and_a_pool_of_all_is_proved_at_its_size_alone(match_target):
    """PyTorch's norm holds the gate that a graph writes out; at other sizes the source is another network."""
    found = match_target("", "own_gated", "gated")

    assert found["findings"] == []
    assert {run["size"] for run in found["proof"]} == {"16x16"}
    assert max(run["worst"] for run in found["proof"]) < 1e-11
    assert [layer["activated"] for layer in found["layers"][:6]] == [False, True] * 3
    layouts = {layer["module"]: layer["moved"][0]["layout"] for layer in found["layers"]}
    assert layouts["attention.query"] == "h k d -> (h k) d 1 1"
    assert layouts["attention.out"] == "d h k -> d (h k) 1 1"


@pytest.mark.parametrize(("wrong", "place"), [("GELU", "body.3: "), ("Sigmoid", "attention.query: ")])
def test_another_gate_is_found(match_target, wrong, place):
    """An activation inside a norm is the norm's fault; one that no module holds shows in what follows."""
    (first, *_) = match_target(wrong, "own_gated", "gated")["findings"]

    assert first.startswith(place)


@pytest.mark.parametrize("wrong", ["", "bias"])
def test_transformer_is_proved(match_target, wrong):
    """Query, key and value by one layer; token, positions and layer scale, which no layer holds; norms."""
    found = match_target(wrong, "own_transformer", "transformer")

    assert found["findings"] == []
    assert found["adjust"] == {}
    assert max(run["worst"] for run in found["proof"]) < 1e-11
    given = {(layer["module"], moved["leaf"]) for layer in found["layers"] for moved in layer["moved"]}
    assert {("", "token"), ("", "positions"), ("mixer", "gamma")} <= given
    (joined,) = (layer for layer in found["layers"] if layer["module"] == "attention.qkv")
    assert [moved["leaf"] for moved in joined["moved"]] == ["weight", "bias"] * 3


@pytest.mark.parametrize("wrong", ["multihead", "sequence first"])
def test_attention_of_pytorch_is_proved(match_target, wrong):
    """`nn.MultiheadAttention` owns what its first layer uses, and calls neither of its layers."""
    found = match_target(wrong, "own_transformer", "transformer")

    assert found["findings"] == []
    assert max(run["worst"] for run in found["proof"]) < 1e-11
    layers = {layer["module"]: [moved["leaf"] for moved in layer["moved"]] for layer in found["layers"]}
    assert layers["attention.both"] == ["in_proj_weight", "in_proj_bias"] * 3
    assert layers["attention.both.out_proj"] == ["weight", "bias"]


@pytest.mark.parametrize(("wrong", "module", "words"), TRANSFORMER_FAULTS)
def test_wrong_transformer_is_never_proved(match_target, wrong, module, words):
    """The first finding names the module or the parameter that sees it first."""
    found = match_target(wrong, "own_transformer", "transformer")

    assert found["findings"], wrong
    assert found["findings"][0].startswith(module)
    assert words in found["findings"][0]


def test_another_epsilon_is_an_adjustment(match_target):
    """It is found from the layer's attributes, and named."""
    found = match_target("epsilon")

    assert found["findings"] == []
    assert found["adjust"]["eps"] == {"blocks.1.bn2": 1e-3}


@pytest.mark.parametrize("source", ["tf_keras.keras", "keras.keras", "transformer"])
def test_table_of_a_match_ports_what_its_source_computes(own_network, tmp_path, monkeypatch, source):
    """From a file and a function to a proved table, and with it to weights."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    import porter
    from porter.networks.any_target import adjust

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    name = "own_transformer" if source == "transformer" else "own_network"
    module, file, table = import_module(name), own_network / source, tmp_path / "mine.toml"
    found = porter.match(file, f"{name}:build", adjust=True)
    found.save(table)

    assert found.status == "proved", found
    assert replace(found, adjusted=False).status == ("draft" if found.adjustments else "proved")
    variant = next(iter(porter.load_tables(table).variants.values()))
    porter.port(file, tmp_path / "mine.safetensors", tables=porter.load_tables(table))
    network = module.build().eval()
    adjust(network, variant.adjust)
    network.load_state_dict(load_file(tmp_path / "mine.safetensors"))
    x, answer = np.load(own_network / "x.npy"), np.load(own_network / f"{file.stem}_y.npy")
    with torch.no_grad():
        ours = network(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()
    assert np.abs(ours - answer).max() < 1e-5
