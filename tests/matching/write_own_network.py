"""Child process: a small network of somebody's own, its answers, and what a match records of it.

Usage: python write_own_network.py FOLDER
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf

from porter.runners.match_source import record

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
    x = layers.AveragePooling2D(3, strides=1, padding="same")(x)
    x = layers.Dense(12, activation="relu")(layers.Flatten()(x))
    return keras.Model(given, layers.Dense(5)(x))


def build_transformer(keras):
    """Return patches, a class token, positions, layer scale, attention, and layer norms of every form."""
    layers = keras.layers

    class Token(layers.Layer):
        def build(self, shape):
            self.token = self.add_weight(name="token", shape=(1, 1, shape[-1]))

        def call(self, x):
            return tf.concat([tf.broadcast_to(self.token, (tf.shape(x)[0], 1, x.shape[-1])), x], 1)

    class Positions(layers.Layer):
        def build(self, shape):
            self.positions = self.add_weight(name="positions", shape=(1, *shape[1:]))

        def call(self, x):
            return x + self.positions

    class Scale(layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(name="scale", shape=shape[-1:])

        def call(self, x):
            return x * self.scale

    given = keras.Input((16, 16, 3))
    x = layers.Conv2D(24, 4, strides=4)(given)
    y = layers.LayerNormalization(epsilon=1e-6)(layers.DepthwiseConv2D(3, padding="same")(x))
    y = layers.Dense(24)(layers.Dense(48, activation="gelu")(y))
    x = layers.Add()([x, Scale()(y)])
    x = Positions()(Token()(layers.Reshape((16, 24))(x)))
    y = layers.LayerNormalization(epsilon=1e-3)(x)
    x = layers.Add()([x, layers.MultiHeadAttention(3, 8)(y, y)])
    x = layers.LayerNormalization(center=False)(x)
    return keras.Model(given, layers.Dense(5)(x[:, 0]))


def build_gated(keras):
    """Return norms with swish and both forms of hard swish, a hard sigmoid, and attention over pixels.

    It ends with a pool as large as its map of 16x16.
    """
    layers = keras.layers

    class Attention(layers.Layer):
        def build(self, shape):
            self.query = self.add_weight(name="query", shape=(2, 4, shape[-1]))
            self.key = self.add_weight(name="key", shape=(shape[-1], 4))
            self.out = self.add_weight(name="out", shape=(shape[-1], 2, 4))

        def call(self, x):
            pixels = tf.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3]))
            query = tf.einsum("bnd,hkd->bnhk", pixels, self.query)
            key = tf.einsum("bmd,dk->bmk", pixels, self.key)
            weighed = tf.nn.softmax(tf.einsum("bnhk,bmk->bnhm", query, key))
            seen = tf.einsum("bnhm,bmk->bnhk", weighed, key)
            return tf.reshape(tf.einsum("bnhk,dhk->bnd", seen, self.out), tf.shape(x))

    x = given = keras.Input((16, 16, 3))
    for gate in (
        lambda x: x * (tf.nn.relu6(x + 3.0) * (1 / 6)),
        tf.nn.silu,
        lambda x: x * tf.nn.relu6(x + 3.0) * (1 / 6),
    ):
        x = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
        x = layers.Lambda(gate)(layers.BatchNormalization()(x))
    gate = layers.Conv2D(8, 1)(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = x * layers.Lambda(lambda y: tf.nn.relu6(y + 3.0) * (1 / 6))(gate)
    x = x + Attention()(x)
    return keras.Model(given, layers.Dense(5)(layers.Flatten()(layers.AveragePooling2D(16)(x))))


def write_saved_model(folder, name, build_it):
    """Write a network as a SavedModel, which alone runs without the code of its layers."""
    model = build_it(importlib.import_module("tf_keras"))
    for variable in model.weights:
        scales = "gamma" in variable.name
        variable.assign(
            RNG.uniform(0.6, 1.4, variable.shape) if scales else RNG.normal(0, 0.2, variable.shape)
        )
    call = tf.function(lambda images: model(images, training=False))
    signature = call.get_concrete_function(tf.TensorSpec((None, 16, 16, 3)))
    tf.saved_model.save(model, str(folder / name), signatures=signature)
    np.save(folder / f"{name}_y.npy", np.asarray(model(np.load(folder / "x.npy"))))


def build_in_tf_keras():
    """Return it as the code that a person names on the command line does."""
    return build(importlib.import_module("tf_keras"))


def write(folder, generation):
    """Write the trained network, the untrained one, whose norms are equal, and what Keras answers to x."""
    keras = importlib.import_module(generation)
    model = build(keras)
    model.save(folder / f"{generation}_untrained.keras")
    for variable in model.weights:
        name = getattr(variable, "path", None) or variable.name
        shape = tuple(variable.shape)
        if len(shape) == 1:
            is_scale = "gamma" in name or "variance" in name
            variable.assign(RNG.uniform(0.6, 1.4, shape) if is_scale else RNG.normal(0, 0.1, shape))
    model.save(folder / f"{generation}.keras")
    np.save(folder / f"{generation}_y.npy", np.asarray(model(np.load(folder / "x.npy"))))
    return model


def main(folder):
    """Write both generations, a checkpoint of one, and a folder for each recording."""
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32))
    write(folder, "keras")
    tf.train.Checkpoint(model=write(folder, "tf_keras")).write(str(folder / "checkpoint-1"))
    builder = "write_own_network:build_in_tf_keras"
    write_saved_model(folder, "transformer", build_transformer)
    write_saved_model(folder, "gated", build_gated)
    recordings = dict.fromkeys(("tf_keras.keras", "tf_keras_untrained.keras", "transformer", "gated"), "")
    recordings["checkpoint-1"] = builder
    for source, function in recordings.items():
        out = folder / f"recorded {source}"
        out.mkdir()
        request = {"source": str(folder / source), "function": function, "seeds": [1, 2], "out": str(out)}
        (out / "answer.json").write_text(json.dumps(record(request), default=str))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
