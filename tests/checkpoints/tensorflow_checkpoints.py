"""Child process: TensorFlow writes one checkpoint per feature and says what its own reader gets from them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import dtypes as all_dtypes

ROOT = Path(sys.argv[1])
V1 = tf.compat.v1
RNG = np.random.default_rng(7)


def save_v2(prefix: str, tensors: dict[str, tf.Tensor], slices: dict[str, str] | None = None) -> None:
    """Save name to tensor with the op that every V2 checkpoint goes through."""
    names = list(tensors)
    specs = [(slices or {}).get(name, "") for name in names]
    tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=names, shape_and_slices=specs, tensors=[tensors[n] for n in names]
    )


def dtypes(prefix: str) -> None:
    """Every element type that TensorFlow can save, with its extreme values among the bytes."""
    tensors = {}
    words = RNG.integers(0, 256, (3, 5, 16), np.uint8)
    names = (
        "float32 float64 half bfloat16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 complex64 complex128"
    )
    for name in (names + " qint8 quint8 qint16 quint16 qint32").split():
        dtype = getattr(all_dtypes, name)
        raw = tf.io.decode_raw(words.tobytes(), tf.uint8)
        tensors[f"raw/{dtype.name}"] = tf.bitcast(
            tf.reshape(raw, [-1, dtype.size] if dtype.size > 1 else [-1]), dtype
        )
    tensors["raw/bool"] = tf.constant(words[0] > 127)
    values = np.array([-4.0, -1.5, -0.0, 0.25, 1.0, 3.0])
    for name in ("float8_e5m2", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e4m3b11fnuz", "float8_e5m2fnuz"):
        dtype = getattr(all_dtypes, name)
        tensors[f"raw/{name}"] = tf.constant(values.astype(dtype.as_numpy_dtype), dtype)
    tensors["raw/int4"] = tf.cast(tf.constant(np.arange(-8, 8, dtype=np.int8)), all_dtypes.int4)
    tensors["raw/uint4"] = tf.cast(tf.constant(np.arange(16, dtype=np.uint8)), all_dtypes.uint4)
    save_v2(prefix, tensors)


def shapes(prefix: str) -> None:
    """Scalars, empty tensors, many axes, strings of all kinds."""
    save_v2(
        prefix,
        {
            "scalar": tf.constant(3.25),
            "empty": tf.zeros([0]),
            "empty3": tf.zeros([4, 0, 2], tf.int64),
            "axes": tf.reshape(tf.range(64), [2] * 6),
            "one": tf.zeros([1, 1, 1, 1], tf.half),
            "string": tf.constant(b"a\0b\nc"),
            "strings": tf.constant([["", "x" * 300], ["\u00fcn\u00ef", "y" * 20000]]),
            "no_strings": tf.zeros([0, 3], tf.string),
            "empty_string": tf.constant(""),
        },
    )


def odd_names(prefix: str) -> None:
    """5,000 names that no sane program uses, and any program may."""
    odd = ["/", "//", "a//b", "/a", "a/", ".", "..", "a/../b", "a/.ATTRIBUTES/VARIABLE_VALUE", "x" * 5000]
    odd += [" ", "\n", "a\nb", "\t", "\0", "\0zero", "\x01", "-", "%s", "\\", '"', "'"]
    odd += ["\u00e9", "\U0001f600/k", "\u202etxt"]
    alphabet = list("ab/. _-\n\u00e9\u4e16")
    names = set(odd)
    while len(names) < 5000:
        names.add("".join(RNG.choice(alphabet, RNG.integers(1, 40))))
    save_v2(prefix, {name: tf.constant(i, tf.int32) for i, name in enumerate(sorted(names))})


def partitioned(prefix: str, version: int) -> None:
    """Variables cut by TF1 partitioners, on one axis each, one of them a scalar beside them."""
    with tf.Graph().as_default(), V1.Session() as session:
        rng = np.random.default_rng(3)
        for name, shape, parts, axis in (
            ("rows", (7, 5), 3, 0),
            ("columns", (4, 9), 4, 1),
            ("deep", (3, 2, 6), 2, 2),
        ):
            V1.get_variable(
                name,
                initializer=tf.constant(rng.standard_normal(shape), tf.float32),
                partitioner=V1.fixed_size_partitioner(parts, axis),
                use_resource=False,
            )
        V1.get_variable("whole", initializer=tf.constant([1, -2, 3]), use_resource=False)
        session.run(V1.global_variables_initializer())
        V1.train.Saver(write_version=version).save(session, prefix, write_meta_graph=False)


def merged(prefix: str) -> None:
    """Five shards merged to one checkpoint; two variables in slices across them, one in a grid."""
    table = tf.constant(RNG.standard_normal((10, 6)), tf.bfloat16)
    grid = tf.constant(RNG.integers(-99, 99, (6, 8)), tf.int16)
    parts = []
    for shard in range(5):
        name = tf.raw_ops.ShardedFilename(basename=prefix + "_temp", shard=shard, num_shards=5).numpy()
        tensors = {f"own/{shard}": tf.constant(RNG.standard_normal(shard), tf.float64)}
        slices = {}
        tensors["table"], slices["table"] = table[2 * shard : 2 * shard + 2], f"10 6 {2 * shard},2:-"
        if shard < 4:
            row, column = shard // 2 * 3, shard % 2 * 4
            tensors["grid"] = grid[row : row + 3, column : column + 4]
            slices["grid"] = f"6 8 {row},3:{column},4"
        save_v2(name, tensors, slices)
        parts.append(name)
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=prefix)


def version_1(prefix: str, *, sharded: bool = False) -> None:
    """The format of 2015: every type its Saver takes."""
    with tf.Graph().as_default(), V1.Session() as session:
        rng = np.random.default_rng(5)
        for name in ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "complex64", "bool"):
            value = (rng.standard_normal((5, 7)) * 100).astype(name)
            V1.Variable(value, name=f"dtype/{name}", use_resource=False)
        V1.Variable(tf.constant(rng.standard_normal(9), tf.half), name="dtype/half", use_resource=False)
        V1.Variable(tf.constant(["", "two", "\u00fc" * 50]), name="strings", use_resource=False)
        V1.Variable(np.zeros((300, 300), np.float32), name="zeros", use_resource=False)
        V1.Variable(2.5, name="scalar", use_resource=False)
        session.run(V1.global_variables_initializer())
        saver = V1.train.Saver(write_version=V1.train.SaverDef.V1, sharded=sharded)
        saver.save(session, prefix, write_meta_graph=False)


class Net(tf.Module):
    """Variables behind shared and cyclic references, a list, and a hash table."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [tf.Variable(RNG.standard_normal((2, 3)), name=f"w{i}") for i in range(3)]
        self.alias = self.layers[1]
        self.me = self
        self.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
        self.table.insert(["a", "b"], [1, 2])


def objects(prefix: str) -> None:
    """An object-based checkpoint with momentum slots and Model Garden's moving averages."""
    import tf_keras
    from official.modeling.optimization.ema_optimizer import ExponentialMovingAverage

    model = tf_keras.Sequential(
        [tf_keras.layers.Dense(3, input_shape=(4,)), tf_keras.layers.BatchNormalization()]
    )
    optimizer = ExponentialMovingAverage(tf_keras.optimizers.legacy.SGD(0.1, momentum=0.9))
    optimizer.shadow_copy(model)
    for _ in range(2):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(tf.ones([2, 4]), training=True) ** 2)
        pairs = zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
        optimizer.apply_gradients(pairs)
    tf.train.Checkpoint(model=model, optimizer=optimizer, net=Net()).write(prefix)


def training_directory(folder: Path) -> None:
    """Three steps kept by a CheckpointManager."""
    step = tf.Variable(0)
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(step=step), str(folder), max_to_keep=2)
    for _ in range(3):
        step.assign_add(10)
        manager.save()


def graph_of(prefix: str) -> list[dict]:
    """Return the stored object graph as protobuf reads it."""
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    proto = trackable_object_graph_pb2.TrackableObjectGraph()
    proto.ParseFromString(tf.train.load_checkpoint(prefix).get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
    nodes = []
    for node in proto.nodes:
        values = [a for a in node.attributes if a.name == "VARIABLE_VALUE"]
        nodes.append(
            {
                "children": {c.local_name: c.node_id for c in node.children},
                "key": values[0].checkpoint_key if values else None,
                "full_name": values[0].full_name if values else "",
                "slots": [
                    [s.slot_name, s.original_variable_node_id, s.slot_variable_node_id]
                    for s in node.slot_variables
                ],
            }
        )
    return nodes


def value_of(reader, prefix: str, name: str, dtype: tf.DType) -> np.ndarray:
    """Return what tf.train.load_checkpoint reads, or RestoreV2 where that cannot make an array of it."""
    try:
        value = reader.get_tensor(name)
        return np.array(value, object) if dtype == tf.string else np.asarray(value)
    except tf.errors.UnimplementedError:
        (tensor,) = tf.raw_ops.RestoreV2(
            prefix=prefix, tensor_names=[name], shape_and_slices=[""], dtypes=[dtype]
        )
    return tensor.numpy()


def expectations(prefixes: dict[str, str]) -> None:
    """Record name, dtype, shape and bytes of every tensor as tf.train.load_checkpoint gives them."""
    arrays, listing = {}, {}
    for label, prefix in prefixes.items():
        reader = tf.train.load_checkpoint(prefix)
        types = reader.get_variable_to_dtype_map()
        rows = []
        for index, (name, shape) in enumerate(sorted(reader.get_variable_to_shape_map().items())):
            value = value_of(reader, prefix, name, types[name])
            strings = None
            if types[name] == tf.string:
                strings = [text.hex() for text in value.reshape(-1).tolist()]
            else:
                arrays[f"{label}/{index}"] = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
            rows.append([name, types[name].name, shape, strings])
        listing[label] = rows
    np.savez(ROOT / "expected.npz", **arrays)
    (ROOT / "expected.json").write_text(json.dumps(listing))


def main() -> None:
    """Write everything below ROOT."""
    prefixes = {}
    for label, write in {
        "dtypes": dtypes,
        "shapes": shapes,
        "odd_names": odd_names,
        "partitioned": lambda prefix: partitioned(prefix, V1.train.SaverDef.V2),
        "merged": merged,
        "v1": version_1,
        "v1_sharded": lambda prefix: version_1(prefix, sharded=True),
        "v1_partitioned": lambda prefix: partitioned(prefix, V1.train.SaverDef.V1),
        "objects": objects,
    }.items():
        (ROOT / label).mkdir()
        prefixes[label] = str(ROOT / label / "ckpt")
        write(prefixes[label])
    tf.saved_model.save(Net(), str(ROOT / "saved_model"))
    prefixes["saved_model"] = str(ROOT / "saved_model" / "variables" / "variables")
    training_directory(ROOT / "training")
    prefixes["training"] = str(ROOT / "training" / "ckpt-3")
    for index in sorted(Path(sys.argv[2]).rglob("*.index")) if len(sys.argv) > 2 else ():
        prefixes[f"real:{index}"] = str(index.with_suffix(""))
    for index, path in enumerate(sys.argv[3:]):
        prefixes[f"given:{index}"] = path
    for label in [
        label for label, prefix in prefixes.items() if label.startswith("real:") and not readable(prefix)
    ]:
        del prefixes[label]
    if "v1_sharded" in prefixes:
        prefixes["v1_sharded"] += "-?????-of-00001"
    expectations(prefixes)
    graphs = {label: graph_of(prefixes[label]) for label in ("objects", "saved_model")}
    (ROOT / "graphs.json").write_text(json.dumps(graphs))


def readable(prefix: str) -> bool:
    """Whether TensorFlow itself can open the checkpoint."""
    try:
        tf.train.load_checkpoint(prefix)
    except (ValueError, tf.errors.OpError):
        return False
    return True


if __name__ == "__main__":
    main()
