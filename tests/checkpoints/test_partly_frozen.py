"""Keras lists what trains first, so that a file of weights alone loses the order of a partly frozen model."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("h5py")
from keras_writer import hdf5
from warm_frameworks import run_with_tensorflow

from porter.checkpoints import open_checkpoint
from porter.errors import PlanError
from porter.planning.plan import plan
from porter.tables.shipped import load_tables

WRITER = Path(__file__).parent / "partly_frozen.py"
LEFT = "the full model (.h5, .keras) or a checkpoint does"


@pytest.fixture(scope="module")
def frozen(module_folder):
    """Return the folder where Keras saved networks that were frozen in part."""
    if find_spec("tf_keras") is None:
        pytest.skip("needs tensorflow and tf-keras")
    folder = module_folder("frozen")
    run_with_tensorflow(WRITER, folder)
    return folder


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["nothing", "everything"])
def test_whole_model_is_ported_variable_by_variable(frozen, name):
    """Where nothing or everything is frozen the order is the model's, and every number is in its place."""
    expected = np.load(frozen / "expected.npz")
    with open_checkpoint(frozen / f"{name}.h5") as checkpoint:
        made = plan(checkpoint, load_tables())
        parts = [part for assignment in made.assignments for part in assignment.parts]
        for part in parts:
            layer = part.key.split("/", 1)[1].removesuffix(":0")
            np.testing.assert_array_equal(checkpoint.read(part.key), expected[layer])

    order = [part.key.rsplit("/", 2)[1] for part in parts]
    assert list(dict.fromkeys(order)) == list(dict.fromkeys(key.split("/")[0] for key in expected))
    assert [note for note in made.notes if "fixed amounts" not in note] == []


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("first_layers", "was frozen in part"),
        ("one_of_five_equal", "was frozen in part"),
        ("stem", "may have been frozen in part"),
        ("norms", "may have been frozen in part"),
    ],
)
def test_partly_frozen_model_is_refused_by_name(frozen, name, said):
    """No variable is given to another layer: the refusal names the model, the cause and the way out."""
    with open_checkpoint(frozen / f"{name}.h5") as checkpoint, pytest.raises(PlanError) as caught:
        plan(checkpoint, load_tables())

    assert f"mobilenet_0.25_64 {said}" in str(caught.value)
    assert LEFT in str(caught.value)


def encoder(names):
    """Return a file of weights alone: equal layers without statistics inside ``encoder``, in this order."""

    def build(file):
        file.attrs["layer_names"] = np.array([b"encoder"])
        group = file.create_group("encoder")
        weights = [f"{name}/{leaf}:0" for name in names for leaf in ("kernel", "bias")]
        group.attrs["weight_names"] = np.array([f"encoder/{name}".encode() for name in weights])
        for name in weights:
            group.create_dataset(f"encoder/{name}", data=np.zeros((3, 3) if "kernel" in name else 3, "f4"))

    return hdf5(build)


@pytest.mark.parametrize(
    ("names", "is_lost", "is_assumed"),
    [
        (("block", "block_1", "block_9", "block_10"), False, False),
        (("block_9", "block_10", "block", "block_1"), True, False),
        (("block", "block_2", "block_1"), True, False),
        (("layer.0", "layer.1"), False, False),
        (("north", "south"), False, True),
    ],
)
def test_equal_layers_without_statistics_are_not_taken_for_each_other(tmp_path, names, is_lost, is_assumed):
    """Numbers that fall show that some were frozen; names without numbers show nothing, and that is said."""
    path = tmp_path / "weights.h5"
    path.write_bytes(encoder(names))

    with open_checkpoint(path) as checkpoint:
        assert checkpoint.frozen_in_part["encoder"] is is_lost
        assert checkpoint.assumed_order == (("encoder",) if is_assumed else ())
        edges = checkpoint.graph.nodes[checkpoint.graph.resolve("layer_with_weights-0")].children
        assert ("layer_with_weights-0" in edges) is not is_lost
