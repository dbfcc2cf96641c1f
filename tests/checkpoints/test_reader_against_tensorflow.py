import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bundle_writer import Bundle, string_scalar

from porter.checkpoints import open_checkpoint

pytestmark = pytest.mark.tensorflow

FEATURES = (
    "dtypes",
    "shapes",
    "odd_names",
    "partitioned",
    "merged",
    "v1",
    "v1_sharded",
    "v1_partitioned",
    "objects",
)


def assert_equal_to_tensorflow(path, expected):
    """Every tensor of `path` has TensorFlow's name, dtype, shape and bytes, whole and in blocks."""
    expected = list(expected)
    with open_checkpoint(path) as checkpoint:
        assert sorted(row[0] for row in expected) == sorted(checkpoint.specs)
        for name, dtype, shape, content in expected:
            spec, array = checkpoint.specs[name], checkpoint.read(name)
            checkpoint.verify(name)
            found = array.reshape(-1).tolist() if spec.dtype.name == "string" else array.tobytes()
            assert (spec.dtype.name, spec.shape) == (dtype, shape)
            assert found == content, name
            block = tuple(slice(size // 3, size) for size in shape)
            np.testing.assert_array_equal(checkpoint.read_block(name, block), array[(*block, ...)])


@pytest.mark.parametrize("label", FEATURES)
def test_every_feature_is_read_as_tensorflow_reads_it(written, label):
    """Each checkpoint that TensorFlow wrote is bit-equal to what tf.train.load_checkpoint returns."""
    assert_equal_to_tensorflow(written.root / label / "ckpt", written.expected(label))


def test_saved_model_directory_gives_its_variables(written):
    """A SavedModel directory reads as the checkpoint in its variables folder."""
    assert_equal_to_tensorflow(written.root / "saved_model", written.expected("saved_model"))


def test_training_directory_gives_the_latest_step(written):
    """A training directory reads as the step that its state file names last."""
    assert_equal_to_tensorflow(written.root / "training", written.expected("training"))
    with open_checkpoint(written.root / "training") as checkpoint:
        assert checkpoint.read("step/.ATTRIBUTES/VARIABLE_VALUE") == 30


def test_every_published_checkpoint_is_read_as_tensorflow_reads_it(written, real_checkpoints):
    """Each published .index file that TensorFlow can open is bit-equal here."""
    labels = [label for label in written.tensors if label.startswith("real:")]
    assert len(labels) == len(list(real_checkpoints.rglob("*.index"))) > 0
    for label in labels:
        assert_equal_to_tensorflow(Path(label.removeprefix("real:")), written.expected(label))


@pytest.mark.parametrize(("label", "path"), [("objects", "objects/ckpt"), ("saved_model", "saved_model")])
def test_object_graph_is_what_protobuf_reads(written, label, path):
    """Children, keys, full names and slots of every node equal protobuf's parse."""
    with open_checkpoint(written.root / path) as checkpoint:
        found = [
            {
                "children": node.children,
                "key": node.key,
                "full_name": node.full_name,
                "slots": [[slot.name, slot.original, slot.variable] for slot in node.slots],
            }
            for node in checkpoint.graph.nodes
        ]
    assert written.graphs[label] == found


def test_moving_averages_and_momentum_are_known_as_slots(written):
    """Model Garden's averages and the optimizer's momentum are tied to the variables they belong to."""
    with open_checkpoint(written.root / "objects" / "ckpt") as checkpoint:
        names = {slot for _, slot in checkpoint.graph.slots.values()}
        kernel = checkpoint.find("model/layer_with_weights-0/kernel")
        averages = [key for key, slot in checkpoint.graph.slots.items() if slot == (kernel, "average")]
    assert names >= {"average", "momentum"}
    assert len(averages) == 1


def test_shared_objects_are_found_by_every_path(written):
    """A variable that two attributes hold resolves through both, and through a cycle."""
    with open_checkpoint(written.root / "saved_model") as checkpoint:
        keys = {checkpoint.find(path) for path in ("layers/1", "alias", "me/me/alias")}
    assert len(keys) == 1
    assert None not in keys


def test_tensorflow_reads_what_the_test_writer_writes(tmp_path):
    """The writer that crafts the other tests' bundles is right: TensorFlow reads the same values."""
    bundle = Bundle(shards=2)
    grid = np.arange(24, dtype=np.float32).reshape(4, 6)
    bundle.put("a", grid, 1)
    bundle.put_slices("b", grid, [((0, 2), (0, None)), ((2, 2), (0, 3)), ((2, 2), (3, 3))])
    bundle.put("c", string_scalar(b"text"))
    bundle.store(tmp_path / "plain")
    bundle.store(tmp_path / "snappy", snappy=True, per_block=2)
    script = """
import sys, numpy as np, tensorflow as tf
for name in sys.argv[1:]:
    (b,) = tf.raw_ops.RestoreV2(prefix=name, tensor_names=["b"], shape_and_slices=[""], dtypes=[tf.float32])
    reader = tf.train.load_checkpoint(name)
    grid = np.arange(24).reshape(4, 6)
    assert (b.numpy() == grid).all() and (reader.get_tensor("a") == grid).all()
    assert reader.get_tensor("c") == b"text" and len(reader.get_variable_to_shape_map()) == 3
"""
    command = [sys.executable, "-c", script, tmp_path / "plain", tmp_path / "snappy"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.skipif(
    "PORTER_LARGE_TESTS" not in os.environ, reason="PORTER_LARGE_TESTS is not set: needs 7 GB"
)
def test_two_gigabytes_are_read_block_by_block_in_little_memory(tmp_path):
    """A 2 GiB tensor that TensorFlow wrote verifies and reads in blocks, rows and columns, within 100 MB."""
    write = """
import sys, numpy as np, tensorflow as tf
value = np.arange(1 << 29, dtype=np.uint32)
value *= np.uint32(2654435761)
tf.raw_ops.SaveV2(prefix=sys.argv[1], tensor_names=["big"], shape_and_slices=[""],
                  tensors=[tf.constant(value.reshape(1 << 14, 1 << 15))])
"""
    read = r"""
import re, sys, numpy as np
from pathlib import Path
from porter.checkpoints import open_checkpoint
factor = np.uint32(2654435761)
columns = np.arange(1 << 15, dtype=np.uint32)
with open_checkpoint(sys.argv[1]) as checkpoint:
    checkpoint.verify("big")
    for start in range(0, 1 << 14, 64):
        rows = np.arange(start, start + 64, dtype=np.uint32)[:, None] << np.uint32(15)
        found = checkpoint.read_block("big", (slice(start, start + 64), slice(None)))
        assert (found == (rows + columns) * factor).all(), start
    rows = np.arange(1 << 14, dtype=np.uint32)[:, None] << np.uint32(15)
    for start in range(0, 1 << 15, 1 << 12):
        found = checkpoint.read_block("big", (slice(None), slice(start, start + 64)))
        assert (found == (rows + columns[start : start + 64]) * factor).all(), start
# Not getrusage, which counts what the process that started this one held.
print(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
"""
    for script in (write, read):
        command = [sys.executable, "-c", script, tmp_path / "ckpt"]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
        assert result.returncode == 0, result.stderr[-2000:]
    assert int(result.stdout) < 100_000
