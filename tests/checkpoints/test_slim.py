import importlib.util
from pathlib import Path

import numpy as np
import pytest
from warm_frameworks import run_with_tensorflow

from porter.checkpoints import open_checkpoint
from porter.planning.ledger import Bucket, moving_averages, write_ledger

pytestmark = pytest.mark.tensorflow

NAMES = {
    "MobilenetV1/Conv2d_0/weights": (3, 3, 3, 8),
    "MobilenetV1/Conv2d_0/BatchNorm/gamma": (8,),
    "MobilenetV1/Conv2d_0/BatchNorm/beta": (8,),
    "MobilenetV1/Conv2d_0/BatchNorm/moving_mean": (8,),
    "MobilenetV1/Conv2d_0/BatchNorm/moving_variance": (8,),
    "MobilenetV1/Logits/weights": (8, 6),
}
# Optimizer to the slots that it keeps for each of the four variables that train, and its own counters.
OPTIMIZERS = {
    "rmsprop": (("RMSProp", "RMSProp_1"), 0),
    "momentum": (("Momentum",), 0),
    "adam": (("Adam", "Adam_1"), 2),
    "adagrad": (("Adagrad",), 0),
}


@pytest.fixture(scope="module")
def written(module_folder):
    """A folder of what TensorFlow 1's code writes."""
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("needs the [tensorflow] extra")
    folder = module_folder("slim")
    run_with_tensorflow(Path(__file__).parent / "slim_checkpoints.py", folder)
    return folder


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_everything_of_a_training_run_is_in_its_bucket(written, name, version):
    """Variables, moving averages, slots and counters of a slim run are told apart, in both formats."""
    slots, counters = OPTIMIZERS[name]
    with open_checkpoint(written / f"{name}_v{version}") as checkpoint:
        averages = moving_averages(checkpoint)
        ledger = write_ledger(checkpoint, {key: key for key in NAMES}, averages, {}, {}, {})
        shapes = {key: checkpoint.specs[key].shape for key in NAMES}

    found = {bucket: sorted(line.key for line in ledger if line.bucket is bucket) for bucket in Bucket}
    trained = [key for key in NAMES if "moving" not in key]
    assert shapes == NAMES
    assert found[Bucket.MAPPED] == sorted(NAMES)
    assert found[Bucket.EMA_TWIN] == sorted(f"{key}/ExponentialMovingAverage" for key in NAMES)
    assert found[Bucket.OPTIMIZER] == sorted(f"{key}/{slot}" for key in trained for slot in slots)
    assert len(found[Bucket.BOOKKEEPING]) == 1 + counters
    assert "global_step" in found[Bucket.BOOKKEEPING]
    assert found[Bucket.REFUSED] == []


def test_moving_averages_are_other_numbers_than_the_weights(written):
    """The shadow of a variable is found and holds what is not the variable itself."""
    with open_checkpoint(written / "rmsprop_v2") as checkpoint:
        averages = moving_averages(checkpoint)
        assert set(averages) == set(NAMES)
        raw, shadow = (checkpoint.read(key) for key in next(iter(averages.items())))
    assert raw.shape == shadow.shape
    assert not np.array_equal(raw, shadow)


def test_hub_module_of_tensorflow_1_opens_as_its_variables(written):
    """A TF1 Hub module is a SavedModel whose variables have names and no object graph."""
    with open_checkpoint(written / "hub") as checkpoint:
        assert {key: spec.shape for key, spec in checkpoint.specs.items()} == NAMES
        assert checkpoint.format == "SavedModel, TensorBundle (name-based checkpoint)"
        assert not checkpoint.graph.stored


def test_tf_module_opens_by_the_names_of_its_attributes(written):
    """A tf.Module that was saved is read by its attributes and the positions in its lists."""
    with open_checkpoint(written / "module") as checkpoint:
        kernels = [checkpoint.read(checkpoint.find(f"layer_with_weights/{n}/kernel")) for n in range(2)]
        head = checkpoint.read(checkpoint.find("head"))
    assert [kernel[0, 0] for kernel in kernels] == [0.0, 1.0]
    assert head.tolist() == [1.0, 2.0]
