"""Child process: a small network of somebody's own, with weights and statistics that matter.

Usage: python write_own_network.py FOLDER tf_keras|keras
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf

RNG = np.random.default_rng(14)


def build(keras):
    """Return it: residual blocks, depthwise, separable, norms without gamma, Flatten and two Dense."""
    layers = keras.layers
    given = keras.Input((16, 16, 3))

    def block(x, width, stride):
        y = layers.Conv2D(width, 3, strides=stride, padding="same", use_bias=False)(x)
        y = layers.ReLU()(layers.BatchNormalization(scale=False, epsilon=1e-4)(y))
        y = layers.BatchNormalization()(layers.Conv2D(width, 3, padding="same")(y))
        shortcut = x if stride == 1 and x.shape[-1] == width else layers.Conv2D(width, 1, strides=stride)(x)
        return layers.ReLU()(layers.Add()([y, shortcut]))

    x = layers.ReLU(max_value=6)(layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same")(given)))
    x = block(block(block(x, 16, 1), 24, 2), 24, 1)
    x = layers.DepthwiseConv2D(5, strides=2, padding="same")(x)
    x = layers.LeakyReLU(0.3)(layers.BatchNormalization()(layers.SeparableConv2D(32, 3, padding="same")(x)))
    x = layers.Dense(12, activation="relu")(layers.Flatten()(x))
    return keras.Model(given, layers.Dense(5)(x))


def build_in_tf_keras():
    """Return it as the code that a person names on the command line does."""
    return build(importlib.import_module("tf_keras"))


def main(folder, generation):
    """Write FOLDER/<generation>.keras, <generation>_untrained.keras with equal norms, and a checkpoint."""
    keras = importlib.import_module(generation)
    model = build(keras)
    model.save(Path(folder) / f"{generation}_untrained.keras")
    for variable in model.weights:
        name = getattr(variable, "path", None) or variable.name
        shape = tuple(variable.shape)
        if len(shape) == 1:
            is_scale = "gamma" in name or "variance" in name
            variable.assign(RNG.uniform(0.6, 1.4, shape) if is_scale else RNG.normal(0, 0.1, shape))
    model.save(Path(folder) / f"{generation}.keras")
    if generation == "tf_keras":
        tf.train.Checkpoint(model=model).write(str(Path(folder) / "checkpoint-1"))


if __name__ == "__main__":
    main(*sys.argv[1:])
