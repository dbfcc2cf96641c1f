"""Write models on RegNet and ResNet-RS as people have them; a process of its own, run by the tests.

Usage: python write_regnets.py FOLDER

Writes FOLDER/<model>.<suffix> and FOLDER/<model>.npz, what the model answers to FOLDER/x.npy: pixels.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
import tf_keras as keras

SIZE = 64


def trained(model):
    """Return the model with values that differ everywhere, as training leaves them."""
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if "kernel" not in variable.name:
            is_scale = "gamma" in variable.name or "variance" in variable.name
            shape = variable.shape
            variable.assign(rng.uniform(0.6, 1.4, shape) if is_scale else rng.normal(0, 0.1, shape))
    return model


def models():
    """Yield name, suffixes and model: one with its own top, nested ones with a head, cut ones, maps."""
    shape = (SIZE, SIZE, 3)
    y = trained(keras.applications.RegNetY002(weights=None, input_shape=shape, classes=7))
    yield "regnety_whole", (".keras", ".tflite"), y
    ends = [layer.output for layer in y.layers if layer.name.endswith("exit_relu")]
    yield "regnety_maps", (".h5",), keras.Model(y.input, [ends[0], ends[3]])
    yield "regnety_cut", (".tflite",), keras.Model(y.input, ends[4])
    rs = keras.applications.ResNetRS50(weights=None, input_shape=shape, include_top=False, pooling="avg")
    given = keras.Input(shape)
    yield "resnetrs_nested", (".h5",), trained(keras.Model(given, keras.layers.Dense(2)(rs(given))))
    ends = [layer.output for layer in rs.layers if layer.name.endswith("output_act")]
    yield "resnetrs_cut", (".keras",), keras.Model(rs.input, ends[4])


def save(model, file):
    """Save a model as the suffix says."""
    if file.suffix == ".tflite":
        file.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    else:
        model.save(file)


def main(folder):
    """Write all of them."""
    x = np.random.default_rng(1).uniform(0, 255, (2, SIZE, SIZE, 3)).astype(np.float32)
    np.save(folder / "x.npy", x)
    for name, suffixes, model in models():
        answer = model(x, training=False)
        np.savez(folder / f"{name}.npz", *(answer if isinstance(answer, list) else [answer]))
        for suffix in suffixes:
            save(model, folder / f"{name}{suffix}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
