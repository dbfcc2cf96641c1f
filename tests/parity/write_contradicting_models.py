"""Child process: whole Keras models, some of them with a config that contradicts every table.

Usage: python write_contradicting_models.py FOLDER tf_keras|keras

Keras's MobileNet of a quarter's width, 64 pixels, 5 classes, random weights and statistics.
FOLDER/<generation>/ gets <case>.keras or .h5, a SavedModel, and with tf_keras a frozen graph.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2 as freeze

SIZE = 64
RNG = np.random.default_rng(13)


def randomise(model):
    """Give every norm and bias a value of its own; gammas are large enough for a cap of 6 to matter."""
    ranges = {"variance": (0.6, 1.4), "gamma": (2.0, 4.0), "mean": (-0.1, 0.1), "bias": (-0.1, 0.1)}
    for variable in model.weights:
        name = getattr(variable, "path", None) or variable.name
        for word, limits in ranges.items():
            if word in name.rpartition("/")[2]:
                variable.assign(RNG.uniform(*limits, tuple(variable.shape)))
    return model


def edited(keras, original, edit):
    """Return the model again with every entry of its config changed by `edit`, and the same weights."""
    config = original.get_config()
    for layer in config["layers"]:
        edit(layer)
    model = keras.Model.from_config(config)
    model.set_weights(original.get_weights())
    return model


def one_epsilon(layer):
    """Another epsilon in one batch normalisation."""
    if layer["config"]["name"] == "conv_pw_6_bn":
        layer["config"]["epsilon"] = 1e-4


def pooling(layer):
    """Maximum pooling in front of the classifier."""
    layer["class_name"] = layer["class_name"].replace("GlobalAverage", "GlobalMax")


def activation(layer):
    """No cap in one ReLU."""
    if layer["config"]["name"] == "conv_pw_3_relu":
        layer["config"]["max_value"] = None


def stride(layer):
    """The first convolution at full resolution."""
    if layer["config"]["name"] == "conv1":
        layer["config"]["strides"] = (1, 1)


def with_narrow_operation(graph):
    """Return a graph with an operation that TensorFlow computes in float32 only; it changes no number."""
    changed = type(graph).FromString(graph.SerializeToString())
    node = next(node for node in changed.node if node.name.endswith("/conv_pw_3_relu/Relu6"))
    name, node.name = node.name, f"{node.name}/before"
    made = changed.node.add(name=name, op="LRN", input=[node.name])
    made.attr["T"].type = tf.float32.as_datatype_enum
    made.attr["depth_radius"].i = 1
    for attribute, value in (("bias", 1.0), ("alpha", 0.0), ("beta", 0.5)):
        made.attr[attribute].f = value
    return changed


def main(folder: Path, generation: str) -> None:
    """Write every case."""
    keras = importlib.import_module(generation)
    out = folder / generation
    out.mkdir()
    plain = randomise(
        keras.applications.MobileNet(input_shape=(SIZE, SIZE, 3), alpha=0.25, weights=None, classes=5)
    )
    plain.save(out / "plain.keras")
    plain.save(out / "plain.h5")
    for edit in (one_epsilon, pooling, activation, stride):
        edited(keras, plain, edit).save(out / f"{edit.__name__}.keras")
    if generation == "keras":
        plain.export(str(out / "saved"), verbose=False)
    else:
        tf.saved_model.save(plain, str(out / "saved"))
        call = tf.function(lambda x: plain(x, training=False))
        concrete = call.get_concrete_function(tf.TensorSpec((1, SIZE, SIZE, 3), tf.float32))
        graph = freeze(concrete).graph.as_graph_def()
        (out / "frozen.pb").write_bytes(graph.SerializeToString())
        narrow = with_narrow_operation(graph)
        (out / "narrow.pb").write_bytes(narrow.SerializeToString())
        next(node for node in narrow.node if node.name.endswith("/conv_pw_3_relu/Relu6/before")).op = "Relu"
        (out / "narrow_uncapped.pb").write_bytes(narrow.SerializeToString())
    layers = keras.layers
    pixels = [keras.Input((SIZE, SIZE, 3)), layers.Rescaling(1 / 127.5, offset=-1.0), plain]
    keras.Sequential(pixels).save(out / "pixels.keras")
    given = keras.Input((SIZE, SIZE, 3))
    scaled = layers.Lambda(lambda x: x / 127.5 - 1)(given)
    keras.Model(given, plain(scaled)).save(
        out / f"code_in_front.{'h5' if generation == 'keras' else 'keras'}"
    )
    if generation == "tf_keras":
        keras.Model(plain.input, layers.Lambda(lambda x: x * 1.0)(plain.output)).save(out / "code.h5")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
