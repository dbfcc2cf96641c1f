import importlib.util
from pathlib import Path

import numpy as np
import pytest
from warm_frameworks import run_with_tensorflow

pytest.importorskip("h5py")
from porter.checkpoints import open_checkpoint
from porter.errors import PlanError
from porter.planning.ledger import Bucket
from porter.planning.plan import plan
from porter.tables.shipped import load_tables

pytestmark = pytest.mark.tensorflow

TABLES = load_tables()
WHOLE = ("ckpt", "saved_model", "full.h5", "only.h5", "archive.keras", "state.weights.h5")
FOREIGN = ("foreign-ckpt", "foreign_model", "foreign.h5")
NAME = "keras_mobilenetv1_025"


@pytest.fixture(scope="module", params=["tf_keras", "keras"])
def written(request, module_folder):
    """A folder with one network, saved in every way that one Keras has."""
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("needs the [tensorflow] extra")
    folder = module_folder(request.param)
    run_with_tensorflow(Path(__file__).parent / "keras_networks.py", request.param, folder)
    return folder


def _open(folder, name):
    if not (folder / name).exists() and not (folder / f"{name}.index").exists():
        pytest.skip("this Keras cannot save in this way")
    return open_checkpoint(folder / name)


def _assert_reads(checkpoint, made, file):
    """The plan reads every variable of the file of arrays once, in the model's order, bit for bit."""
    with np.load(file) as arrays:
        expected = [arrays[name] for name in arrays.files]
    found = [checkpoint.read(part.key) for assignment in made.assignments for part in assignment.parts]
    assert len(expected) == len(found)
    for wanted, value in zip(expected, found, strict=True):
        np.testing.assert_array_equal(wanted, value, strict=True)


@pytest.mark.parametrize("name", WHOLE)
def test_one_table_serves_every_container(written, name):
    """However Keras saved the network, it is recognised and every variable goes to its place."""
    with _open(written, name) as checkpoint:
        made = plan(checkpoint, TABLES)
        assert made.variant.name == NAME
        assert made.arguments["num_classes"] == 7
        assert {line.bucket for line in made.ledger} <= {Bucket.MAPPED, Bucket.BOOKKEEPING}
        _assert_reads(checkpoint, made, written / "expected.npz")


def test_head_of_somebodys_own_is_refused_where_nothing_tells_what_it_computes(written):
    """A network inside somebody's model is not ported silently without the rest of it."""
    with _open(written, "foreign-ckpt") as checkpoint, pytest.raises(PlanError) as caught:
        plan(checkpoint, TABLES)

    assert caught.value.code == "plan/left-over"
    assert "4 variable(s)" in str(caught.value)
    assert "--backbone-only" in str(caught.value)


@pytest.mark.parametrize("name", ["foreign_model", "foreign.h5"])
def test_head_of_somebodys_own_is_ported(written, name):
    """A model that says what its head computes is ported with it."""
    with _open(written, name) as checkpoint:
        made = plan(checkpoint, TABLES)

    assert made.variant.name == NAME
    assert made.network.endswith("a head of its own: global_avg_pool, dense 10, relu, dense 3, softmax")
    assert {line.bucket for line in made.ledger} <= {Bucket.MAPPED, Bucket.BOOKKEEPING}


@pytest.mark.parametrize("name", FOREIGN)
def test_backbone_is_ported_and_the_head_reported(written, name):
    """On request the network inside is ported without classes; the head is listed as left out."""
    with _open(written, name) as checkpoint:
        made = plan(checkpoint, TABLES, backbone_only=True)
        assert made.variant.name == NAME
        assert made.arguments["num_classes"] == 0
        left = [line for line in made.ledger if line.bucket is Bucket.LEFT_OUT]
        assert sorted(checkpoint.specs[line.key].shape for line in left) == [(3,), (10,), (10, 3), (256, 10)]
        assert all("--backbone-only" in line.reason for line in left)
        _assert_reads(checkpoint, made, written / "foreign.npz")


def test_known_head_is_left_behind_too_on_request(written):
    """--backbone-only means the same for a classifier that the table knows."""
    with _open(written, "ckpt") as checkpoint:
        made = plan(checkpoint, TABLES, backbone_only=True)

    assert made.arguments["num_classes"] == 0
    left = [line.key for line in made.ledger if line.bucket is Bucket.LEFT_OUT]
    assert sorted(checkpoint.specs[key].shape for key in left) == [(1, 1, 256, 7), (7,)]
