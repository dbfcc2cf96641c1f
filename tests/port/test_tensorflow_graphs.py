"""Frozen graphs, TF1 Hub modules and Teachable Machine's models, as TensorFlow writes them."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from warm_frameworks import run_with_tensorflow

from porter.checkpoints import open_checkpoint
from porter.cli.main import main
from porter.errors import CheckpointError
from porter.planning.ledger import Bucket
from porter.planning.plan import plan
from porter.tables.shipped import load_tables

pytestmark = pytest.mark.tensorflow

TABLES = load_tables()
WRITER = Path(__file__).parent / "write_graphs.py"


@pytest.fixture(scope="module")
def written(module_folder):
    """Return the folder where TensorFlow wrote its graphs and modules."""
    if find_spec("tf_keras") is None:
        pytest.skip("needs tensorflow and tf-keras")
    folder = module_folder("graphs")
    run_with_tensorflow(WRITER, folder)
    return folder


def read(path, **options):
    """Return the plan of a source, and the value of every part that it moves, by key."""
    with open_checkpoint(path) as checkpoint:
        made = plan(checkpoint, TABLES, **options)
        parts = [part for assignment in made.assignments for part in assignment.parts]
        return made, {part.key: checkpoint.read(part.key) for part in parts}


@pytest.mark.parametrize(
    ("name", "prefix", "size"), [("frozen.pb", "", 64), ("hub", "", 64), ("hub_named", "module/", 64)]
)
def test_network_of_tensorflow_1_is_ported_by_its_names(written, name, prefix, size):
    """Constants of a frozen graph and variables of a Hub module are slim's, each in its place."""
    expected = np.load(written / "expected.npz")

    made, found = read(written / name)

    assert made.variant.name == "slim_mobilenetv1_025"
    assert {line.bucket for line in made.ledger} == {Bucket.MAPPED}
    assert sorted(found) == sorted(f"{prefix}{key}" for key in expected)
    for key, value in found.items():
        np.testing.assert_array_equal(value, expected[key.removeprefix(prefix)], strict=True)
    assert made.arguments["num_classes"] == 11
    assert made.input_spec.size == size  # the placeholder tells it, or the signature


@pytest.mark.parametrize(
    ("model", "variant"),
    [("MobileNet", "keras_mobilenetv1_025"), ("MobileNetV3Small", "keras_mobilenetv3_small_075")],
)
def test_keras_network_frozen_by_tensorflow_2_is_ported_by_what_reads_its_constants(written, model, variant):
    """A constant that is called after its operation is a variable of that layer; the order is the model's."""
    with np.load(written / f"{model}.npz") as arrays:
        expected = [arrays[name] for name in arrays.files]

    made, found = read(written / f"{model}.pb")

    assert made.variant.name == variant
    assert {line.bucket for line in made.ledger} == {Bucket.MAPPED}
    assert len(found) == len(expected)
    # no two variables hold equal numbers, so that each value names its place in Keras's own order
    order = {value.tobytes(): number for number, value in enumerate(expected)}
    assert len(order) == len(expected)
    assert sorted(order[value.tobytes()] for value in found.values()) == list(range(len(expected)))
    targets = {a.target: order[found[p.key].tobytes()] for a in made.assignments for p in a.parts}
    entries = [e for e in made.variant.entries if e.target in targets]
    by_layer = sorted(entries, key=lambda e: targets[e.target])
    numbers = [int(e.source.split("/")[0].rpartition("-")[2]) for e in by_layer]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize("name", ["machine.h5", "machine"])
def test_teachable_machine_is_ported_with_its_head_or_without(written, name):
    """A Sequential of Sequentials: the network inside is ported with its head; on request, without."""
    with np.load(written / "machine.npz") as arrays:
        expected = [arrays[key] for key in arrays.files]
    whole, _ = read(written / name)
    assert whole.network.endswith("a head of its own: global_avg_pool, dense 100, relu, dense 3, softmax")

    made, found = read(written / name, backbone_only=True)

    assert made.variant.name == "keras_mobilenetv2_035"
    assert made.input_spec.size == 224
    assert made.arguments["num_classes"] == 0
    assert sum(line.bucket is Bucket.LEFT_OUT for line in made.ledger) == 3
    assert len(found) == len(expected)
    for value, wanted in zip(found.values(), expected, strict=True):
        np.testing.assert_array_equal(value, wanted, strict=True)


@pytest.mark.torch
def test_network_inside_a_model_is_checked_by_itself(written):
    """On request the backbone is compared alone, and what was not compared is counted."""
    pytest.importorskip("timm")
    command = [
        "parity-check",
        "--checkpoint",
        str(written / "machine"),
        "--size",
        "224",
        "--dtype",
        "float64",
    ]

    result = CliRunner().invoke(main, [*command, "--backbone-only", "--json"])

    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["verdict"] == "parity"
    (case,) = document["cases"]
    assert "logits" not in [stage["name"] for stage in case["stages"]]
    assert case["worst_relative"] < 1e-11
    assert (
        "3 variables of the checkpoint lie outside the compared network, see porter inspect"
        in document["notes"]
    )


@pytest.mark.torch
def test_model_beside_a_graph_that_was_not_saved_is_checked_with_its_head(written):
    """Keras's config is the network if the SavedModel has no traces."""
    pytest.importorskip("timm")

    result = CliRunner().invoke(
        main, ["parity-check", "--checkpoint", str(written / "machine"), "--dtype", "float64", "--json"]
    )

    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["verdict"] == "parity"
    assert "logits" in [stage["name"] for stage in document["cases"][0]["stages"]]
    assert any("the config beside the SavedModel" in note for note in document["notes"])


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_damaged_description_of_keras_is_refused_by_its_name(written, tmp_path, keep):
    """What says how images are prepared is not passed over in silence when it is cut off."""
    shutil.copytree(written / "machine", tmp_path / "machine")
    metadata = tmp_path / "machine" / "keras_metadata.pb"
    metadata.write_bytes(metadata.read_bytes()[: int(metadata.stat().st_size * keep)])

    with pytest.raises(CheckpointError, match=r"keras_metadata\.pb"):
        open_checkpoint(tmp_path / "machine")
