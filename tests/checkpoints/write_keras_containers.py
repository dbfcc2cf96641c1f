"""Write small Keras models in the containers that people hold, each with the model's own weights.

    python write_keras_containers.py tf_keras|keras OUT

reference.npz has each weight under ``<layer's number>/<variable>``, layers with weights counted.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import zipfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np

KERAS_NAME, OUT = sys.argv[1], Path(sys.argv[2])
keras = importlib.import_module(KERAS_NAME)
RNG = np.random.default_rng(3)
LEAVES = {"DepthwiseConv2D": {"kernel": "depthwise_kernel"}}


def network():
    """Return a model with each kind of layer that wrappers treat in a way of its own."""
    layers = keras.layers
    given = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="first")(given)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.ReLU(max_value=6)(layers.BatchNormalization(scale=False)(x))
    x = layers.Conv2D(5, 1, activation="relu")(x)
    model = keras.Model(given, layers.Dense(3, name="dense")(layers.GlobalAveragePooling2D()(x)))
    for variable in model.weights:
        variable.assign(RNG.uniform(0.5, 1.5, tuple(variable.shape)).astype(np.float32))
    return model


def reference(model):
    """Return every weight by the layer's number and TensorFlow's name of the variable."""
    weighted = [layer for layer in model.layers if layer.weights]
    found = {}
    for number, layer in enumerate(weighted):
        for variable in layer.weights:
            leaf = (getattr(variable, "path", None) or variable.name).rpartition("/")[2].split(":")[0]
            leaf = LEAVES.get(type(layer).__name__, {}).get(leaf, leaf)
            found[f"{number}|{leaf}"] = np.asarray(variable)
    return found


def single(value):
    """Store a weight as it is."""
    return None, value.astype("<f4").tobytes()


def half(value):
    """Store a weight in 16 bits."""
    return {"dtype": "float16"}, value.astype("<f2").tobytes()


def tensorflow_js(model, folder, shards, store=single):
    """Write a layers model as tensorflowjs documents it, its bytes cut into `shards` files anywhere."""
    folder.mkdir()
    entries, content = [], b""
    for layer in model.layers:
        for variable in layer.weights:
            leaf = (getattr(variable, "path", None) or variable.name).rpartition("/")[2].split(":")[0]
            quantization, data = store(np.asarray(variable))
            entry = {"name": f"{layer.name}/{leaf}", "shape": list(variable.shape), "dtype": "float32"}
            entries.append(entry | ({"quantization": quantization} if quantization else {}))
            content += data
    cuts = [0, *sorted(RNG.choice(len(content), shards - 1, replace=False).tolist()), len(content)]
    paths = [f"group1-shard{n + 1}of{shards}.bin" for n in range(shards)]
    for path, begin, end in zip(paths, cuts, cuts[1:], strict=False):
        (folder / path).write_bytes(content[begin:end])
    topology = {"keras_version": keras.__version__, "model_config": json.loads(model.to_json())}
    document = {"format": "layers-model", "modelTopology": topology}
    document["weightsManifest"] = [{"paths": paths, "weights": entries}]
    (folder / "model.json").write_text(json.dumps(document))
    (folder / "metadata.json").write_text(json.dumps({"labels": ["a", "b", "c"]}))
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)


def graph_model(model, folder):
    """Write a graph model as tensorflowjs_converter does: frozen, norms folded, operations fused."""
    import tensorflow as tf
    from google.protobuf import json_format
    from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
    from tensorflow.python.framework import convert_to_constants
    from tensorflow.python.grappler import tf_optimizer
    from tensorflow.python.tools import optimize_for_inference_lib

    called = tf.function(lambda x: model(x, training=False))
    concrete = called.get_concrete_function(tf.TensorSpec((None, 16, 16, 3), tf.float32))
    frozen = convert_to_constants.convert_variables_to_constants_v2(concrete)
    ends = [tensor.op.name for tensor in frozen.outputs]
    graph = frozen.graph.as_graph_def()

    def optimised(graph, passes):
        with tf.Graph().as_default() as imported:
            tf.import_graph_def(graph, name="")
        meta = tf.compat.v1.train.export_meta_graph(graph_def=graph, graph=imported)
        fetched = meta_graph_pb2.CollectionDef()
        fetched.node_list.value.extend(ends)
        meta.collection_def["train_op"].CopyFrom(fetched)
        config = config_pb2.ConfigProto()
        config.graph_options.rewrite_options.optimizers.extend(passes)
        config.graph_options.rewrite_options.min_graph_nodes = -1
        return tf_optimizer.OptimizeGraph(config, meta)

    graph = optimised(graph, ["pruning", "constfold", "dependency", "pruning"])
    graph = optimize_for_inference_lib.fold_batch_norms(graph)
    graph = optimised(graph, ["pruning"])
    fuse(graph)
    folder.mkdir()
    entries, content = [], b""
    for node in graph.node:
        if node.op == "Const":
            value = tf.make_ndarray(node.attr["value"].tensor)
            kind = {"float32": "float32", "int32": "int32"}[value.dtype.name]
            entries.append({"name": node.name, "shape": list(value.shape), "dtype": kind})
            content += value.tobytes()
            node.attr["value"].tensor.Clear()
    (folder / "group1-shard1of1.bin").write_bytes(content)
    document = {"format": "graph-model", "modelTopology": json_format.MessageToDict(graph)}
    document["weightsManifest"] = [{"paths": ["group1-shard1of1.bin"], "weights": entries}]
    (folder / "model.json").write_text(json.dumps(document))


def fuse(graph):
    """Join each convolution or product with bias and activation, as Grappler's remapper does."""
    fused = {
        "Conv2D": "_FusedConv2D",
        "DepthwiseConv2dNative": "FusedDepthwiseConv2dNative",
        "MatMul": "_FusedMatMul",
    }
    for node in list(graph.node):
        takers = [other for other in graph.node if node.name in other.input]
        if node.op not in fused or len(takers) != 1 or takers[0].op != "BiasAdd":
            continue
        bias, steps = takers[0], [b"BiasAdd"]
        behind = [other for other in graph.node if bias.name in other.input]
        last = behind[0] if len(behind) == 1 and behind[0].op in ("Relu", "Relu6") else bias
        steps += [last.op.encode()] if last is not bias else []
        node.op = fused[node.op]
        node.input.append(bias.input[1])
        node.attr["fused_ops"].list.s.extend(steps)
        node.name = last.name
        for gone in {id(bias): bias, id(last): last}.values():
            graph.node.remove(gone)


def affine(kind):
    """Return what quantises a weight as tensorflowjs/quantization.py does."""

    def store(value):
        low, high = float(value.min()), float(value.max())
        scale = (high - low) / np.iinfo(kind).max or 1.0
        words = np.round((value.astype(np.float64) - low) / scale).astype(kind)
        return {"dtype": kind, "scale": scale, "min": low}, words.astype(
            np.dtype(kind).newbyteorder("<")
        ).tobytes()

    return store


def with_backslashes(source, target):
    """Copy a .keras file with the HDF5 names that tf_keras 2.15 wrote on Windows."""
    import h5py

    with zipfile.ZipFile(source) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    inner, outer = target.with_suffix(".in"), target.with_suffix(".out")
    inner.write_bytes(parts["model.weights.h5"])
    with h5py.File(inner) as given, h5py.File(outer, "w") as made:

        def copy(name, item):
            if isinstance(item, h5py.Dataset):
                group, _, leaf = name.partition("/vars/")
                made.require_group(group.replace("/", "\\")).require_group("vars")[leaf] = item[()]

        given.visititems(copy)
    parts["model.weights.h5"] = outer.read_bytes()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def everywhere(model, name):
    """Save a model in each of tf_keras's own files."""
    model.save(OUT / f"{name}.h5")
    model.save(OUT / f"{name}.keras")
    model.save_weights(OUT / f"{name}.weights.h5")


def of_tf_keras(model):
    """Write what tf_keras alone does."""
    import tensorflow_model_optimization as tfmot

    everywhere(tfmot.quantization.keras.quantize_model(model), "quantised")
    everywhere(tfmot.sparsity.keras.prune_low_magnitude(model), "pruned")
    model.save(OUT / "plain.keras")
    with_backslashes(OUT / "plain.keras", OUT / "windows.keras")


def of_keras(model):
    """Write what Keras 3 alone does."""
    model.save_weights(OUT / "sharded.weights.json", max_shard_size=600 / 1024**3)
    small = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5, name="int8")])
    small.quantize("int8")
    small.save(OUT / "int8.keras")
    layer = small.get_layer("int8")
    kernel = keras.ops.divide(keras.ops.cast(layer._kernel, "float32"), layer.kernel_scale)
    np.savez(OUT / "int8.npz", **{"0|kernel": np.asarray(kernel), "0|bias": np.asarray(layer.bias)})
    model.compile("sgd", "mse")
    backup = keras.callbacks.BackupAndRestore(str(OUT / "backup"), delete_checkpoint=False)
    model.fit(np.zeros((1, 16, 16, 3)), np.zeros((1, 3)), verbose=0, callbacks=[backup])
    np.savez(OUT / "trained.npz", **reference(model))


made = network()
np.savez(OUT / "reference.npz", **reference(made))
tensorflow_js(made, OUT / "float32", 3)
tensorflow_js(made, OUT / "float16", 1, half)
tensorflow_js(made, OUT / "uint8", 2, affine("uint8"))
tensorflow_js(made, OUT / "uint16", 2, affine("uint16"))
graph_model(made, OUT / "graph")
of_tf_keras(made) if KERAS_NAME == "tf_keras" else of_keras(made)
