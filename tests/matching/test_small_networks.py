"""Networks as people write them: what is equal is proved, and what is not is never."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from porter.runners.source_recording import SourceRecording

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

WRITTEN_OUT = ("apart", "multiplied_maps")
EQUAL = (
    *("flat", "pool_first", "norm_first", "plain", "exported", "dilated", "resized", "groups", "slopes"),
    *("unbiased", "multiplied", "old_groups", "in_groups", "attention", "shared", "gated_blocks", "grey"),
    *WRITTEN_OUT,
)
CHECKED = (  # a file, the network, a variant of the torch module
    *(
        (f"{name}.keras", name, "")
        for name in ("groups", "slopes", "unbiased", "shared", "grey", "attention", *WRITTEN_OUT)
    ),
    *(("unbiased.weights.h5", "unbiased", "none"), ("groups-1", "groups", "")),
    ("attention.keras", "attention", "joined"),
)
FUNCTIONS = {
    **dict.fromkeys(("unbiased.weights.h5", "preset"), "write_small_networks:build_unbiased"),
    "groups-1": "write_small_networks:build_groups",
}
PORTED = (  # a file, the network, a variant of the torch module
    *((f"{name}.keras", name, "") for name in ("flat", "dilated", "groups", "slopes", "multiplied")),
    *((f"{name}.keras", name, "") for name in WRITTEN_OUT),
    ("exported", "plain", ""),
    *(("unbiased.keras", "unbiased", form) for form in ("", "none")),
    ("unbiased.weights.h5", "unbiased", "none"),
    ("preset", "unbiased", ""),
)

# The network, what is wrong with it, the place that is named first, and what is said of it.
FAULTS = [
    ("pool_first", "no pool", "conv: ", "takes the output of images"),
    ("norm_first", "no norm", "conv: ", "takes the output of images"),
    ("two_outputs", "tanh", "output 2 ", "differs from the source's"),
    ("plain", "capped at 6", "16x16 pixels, random weights, seed 2, images x 30: second ", "differs"),
    ("plain", "capped at 20", "16x16 pixels, random weights, seed 2, images x 30: second ", "differs"),
    ("dilated", "dilation", "conv: ", "dilation 1 where the source has 2"),
    ("resized", "corners", "second: ", "takes nothing that the source computes"),
    ("groups", "groups", "norm: ", "groups 2 where the source has 3"),
    ("apart", "uncapped", "head: ", "takes nothing that the source computes"),
    ("apart_turned", "", "second: ", "no layer of the source is left"),
    ("multiplied_channels", "", "second: ", "takes the output of"),
    ("multiplied_channels", "weights", "factors ", "is not matched yet"),
    ("slopes", "ReLU", "dense: ", "takes nothing that the source computes"),
]


@pytest.fixture(scope="module")
def match_target(small_networks):
    """Return a function from a network and what is wrong with it to what a match finds."""
    pytest.importorskip("torch")
    from porter.runners.match_target import match

    def run(name, wrong=""):
        target = {
            "library": "torch",
            "name": "small_networks:build",
            "arguments": {"name": name, "wrong": wrong},
        }
        return match({**target, "folder": str(small_networks / f"recorded {name}"), "threads": 1})

    return run


@pytest.mark.parametrize("name", EQUAL)
def test_what_computes_the_same_is_proved(small_networks, match_target, name):
    """On both sides nothing is open, and every run agrees."""
    found = match_target(name)
    recorded = json.loads((small_networks / f"recorded {name}" / "answer.json").read_text())

    assert [*found["findings"], *recorded["untested"]] == []
    assert max(run["worst"] for run in found["proof"]) < 1e-11
    assert "random weights, seed 2, images x 30" in {run["weights"] for run in found["proof"]}


def test_signals_of_a_deep_network_stay_of_one_order(small_networks, match_target):
    """Random weights let no block add more than the one before; nor does rounding grow."""
    found = match_target("gated_blocks")
    recording = SourceRecording(small_networks / "recorded gated_blocks")
    outputs = recording.outputs(recording.runs[0])
    adds = [n for n, each in enumerate(recording.operations) if each.kind == "add"]
    spread = [float(outputs[number].std()) for number in adds]

    assert len(adds) == 20
    assert max(spread) < 20
    # Rounding of 81 layers is 3e-15; it is 2e-12 where signals grow with every block.
    assert max(run["worst"] for run in found["proof"] if "x 30" not in run["weights"]) < 1e-13


def test_another_epsilon_is_found_where_large_variances_hide_it(match_target):
    """1e-7 of a variance of 90 is less than what counts as equal, and more in the layers behind it."""
    found = match_target("gated_blocks", "epsilon")

    assert found["findings"] == []
    assert found["adjust"] == {"eps": 1e-3}


@pytest.mark.parametrize(("name", "wrong", "place", "words"), FAULTS)
def test_what_computes_something_else_is_not_proved(match_target, name, wrong, place, words):
    """The first finding names the module that is wrong, or the first that sees it."""
    (first, *_) = match_target(name, wrong)["findings"]

    assert first.startswith(place)
    assert words in first


def test_factor_that_pytorch_leaves_out_goes_into_the_kernel(match_target):
    """The layer behind it is found, its kernel makes up for the factor, and a note says so."""
    found = match_target("multiplied_maps")
    moved = {layer["module"]: layer["moved"] for layer in found["layers"]}

    assert [(each["leaf"], each["scale"]) for each in moved["second"]] == [("weight", 1.25), ("bias", 1.0)]
    assert found["notes"] == ["the kernel makes up for a factor 1.25 of the source's input: second"]


def test_numbers_that_are_not_kept_with_weights_are_none(match_target):
    """A network is built with them, and nothing of the source has to fill them."""
    assert match_target("multiplied_channels", "kept")["findings"] == []


def test_epsilon_of_a_group_norm_is_an_adjustment(match_target):
    """It is found from the graph, as that of other norms is."""
    found = match_target("groups", "epsilon")

    assert found["findings"] == []
    assert found["adjust"] == {"eps": {"norm": 1e-5}}


@pytest.mark.parametrize(
    ("wrong", "notes"),
    [
        ("", []),
        ("no sigmoid", ["PyTorch's output 2 is what the source has before its last sigmoid"]),
        (
            "turned",
            ["PyTorch's output 1 is the source's output 2", "PyTorch's output 2 is the source's output 1"],
        ),
        ("alone", ["PyTorch does not return the source's output 2"]),
    ],
)
def test_every_output_is_compared_and_what_differs_in_form_is_told(match_target, wrong, notes):
    """Order, a last activation that is left to others and outputs that are missing are no faults."""
    found = match_target("two_outputs", wrong)

    assert found["findings"] == []
    assert [told[: len(note)] for told, note in zip(found["notes"], notes, strict=True)] == notes


def test_preparation_that_a_table_cannot_state_is_told(small_networks):
    """PyTorch takes what the source's preparation gives; a scaling is in the table's [input]."""
    recorded = [
        json.loads((small_networks / f"recorded {name}" / "answer.json").read_text())
        for name in ("reversed_channels", "plain")
    ]

    assert [len(each["notes"]) for each in recorded] == [1, 0]
    assert recorded[0]["notes"][0].startswith("the source prepares its images, and PyTorch takes what")


@pytest.fixture(scope="module")
def match_of(small_networks, module_folder):
    """Return a function that makes the match of a file with a torch module, once, and writes its table."""
    import porter

    known, folder = {}, module_folder("tables")

    def run(file, name, form):
        if (file, name, form) not in known:
            arguments = [f"name={name}", *([f"wrong={form}"] if form else [])]
            known[file, name, form] = porter.match(
                small_networks / file,
                "small_networks:build",
                function=FUNCTIONS.get(file, ""),
                arguments=arguments,
            )
        found, table = known[file, name, form], folder / f"{file} {form}.toml"
        found.save(table)
        return found, table

    return run


@pytest.fixture
def with_networks(monkeypatch):
    """Have the modules of this folder be imported by name, in processes of a match too."""
    pytest.importorskip("torch")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.mark.usefixtures("with_networks")
@pytest.mark.parametrize(("file", "name", "form"), PORTED)
def test_table_ports_what_the_source_answers(small_networks, tmp_path, match_of, file, name, form):
    """From a file to a table, to weights, to a loaded module with the source's answers."""
    import torch
    from small_networks import build

    import porter

    found, table = match_of(file, name, form)
    out = tmp_path / "mine.safetensors"
    porter.port(small_networks / file, out, tables=porter.load_tables(table))
    network = porter.load_model(out, model=build(name, form))
    with torch.no_grad():
        ours = network(torch.from_numpy(np.load(small_networks / "x.npy")).permute(0, 3, 1, 2)).numpy()

    assert found.status == "proved", found
    assert np.abs(ours - np.load(small_networks / f"{name}_y.npy")).max() < 2e-5


@pytest.mark.usefixtures("with_networks")
@pytest.mark.parametrize(("file", "name", "form"), CHECKED)
def test_table_is_checked_as_it_was_proved(small_networks, match_of, file, name, form):
    """`parity-check` with a proved table finds parity: no layer is compared with another place."""
    from porter.cli.main import main

    _, table = match_of(file, name, form)

    done = CliRunner().invoke(
        main,
        ["parity-check", "--checkpoint", str(small_networks / file), "--table", str(table), "--trust-table"],
    )

    assert done.exit_code == 0, done.output
