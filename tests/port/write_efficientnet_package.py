"""Write an EfficientNet as the package `efficientnet` builds it; a process of its own, run by the tests.

Usage: python write_efficientnet_package.py FOLDER

Its layers have the names that Keras took over; it pads SAME, has no layers that prepare images, a Dropout of
its own class, and its classifier is called "probs". Written are FOLDER/weights.h5 (as the package's are
published) and newer.weights.h5, FOLDER/full.h5, FOLDER/saved (a SavedModel), FOLDER/expected.npz (all values)
and FOLDER/reference.npz: ``x`` (2, 64, 64, 3) and ``y``, what the model answers. Beside them are weights of
Keras's own EfficientNet, with its Normalization: FOLDER/keras.h5, keras.weights.h5 and keras_ckpt,
and keras_head.weights.h5 of one with two layers of its own behind it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
import tf_keras
from tf_keras import layers

RNG = np.random.default_rng(5)
# Repeats, kernel, channels in and out, expansion, stride: EfficientNet-B0.
BLOCKS = (
    *((1, 3, 32, 16, 1, 1), (2, 3, 16, 24, 6, 2), (2, 5, 24, 40, 6, 2), (3, 3, 40, 80, 6, 2)),
    *((3, 5, 80, 112, 6, 1), (4, 5, 112, 192, 6, 2), (1, 3, 192, 320, 6, 1)),
)


class FixedDropout(layers.Dropout):
    """The package's own class: a noise shape of it may have open sides."""


def swish(x):
    """Return x * sigmoid(x)."""
    return tf.nn.swish(x)


def conv(x, width, size, stride, name):
    """Convolve without a bias, and normalise."""
    x = layers.Conv2D(width, size, stride, padding="same", use_bias=False, name=f"{name}conv")(x)
    return layers.BatchNormalization(name=f"{name}bn")(x)


def activated(x, name):
    """Activate."""
    return layers.Activation(swish, name=f"{name}activation")(x)


def block(x, name, size, widths, expansion, stride):
    """Expand, convolve by channel, gate, project, and add what was there."""
    taken, (before, after) = x, widths
    width = before * expansion
    if expansion != 1:
        x = activated(conv(x, width, 1, 1, f"{name}expand_"), f"{name}expand_")
    x = layers.DepthwiseConv2D(size, stride, padding="same", use_bias=False, name=f"{name}dwconv")(x)
    x = activated(layers.BatchNormalization(name=f"{name}bn")(x), name)
    gate = layers.Reshape((1, 1, width))(layers.GlobalAveragePooling2D(name=f"{name}se_squeeze")(x))
    gate = layers.Conv2D(max(1, before // 4), 1, activation=swish, name=f"{name}se_reduce")(gate)
    gate = layers.Conv2D(width, 1, activation="sigmoid", name=f"{name}se_expand")(gate)
    x = conv(layers.multiply([x, gate]), after, 1, 1, f"{name}project_")
    if stride == 1 and before == after:
        x = layers.add([FixedDropout(0.2, noise_shape=(None, 1, 1, 1), name=f"{name}drop")(x), taken])
    return x


def network():
    """Return it for images of 64 pixels and seven classes."""
    images = tf_keras.Input((64, 64, 3))
    x = activated(conv(images, 32, 3, 2, "stem_"), "stem_")
    for stage, (count, size, before, after, expansion, stride) in enumerate(BLOCKS, 1):
        for place in range(count):
            widths = (after if place else before, after)
            name = f"block{stage}{'abcd'[place]}_"
            x = block(x, name, size, widths, expansion, 1 if place else stride)
    x = activated(conv(x, 1280, 1, 1, "top_"), "top_")
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D(name="avg_pool")(x))
    return tf_keras.Model(images, layers.Dense(7, activation="softmax", name="probs")(x))


def numbered(model):
    """Yield every value by the number of its layer, as Keras counts those that have weights."""
    for number, layer in enumerate(layer for layer in model.layers if layer.weights):
        for weight in layer.weights:
            leaf = weight.name.rpartition("/")[2].partition(":")[0]
            yield f"layer_with_weights-{number}/{leaf}", weight.numpy()


def main(folder):
    """Write the model; with values that differ everywhere."""
    model = network()
    for each in model.weights:
        if "kernel" not in each.name:
            is_scale = "gamma" in each.name or "variance" in each.name
            each.assign(RNG.uniform(0.6, 1.4, each.shape) if is_scale else RNG.normal(0, 0.1, each.shape))
    x = RNG.normal(size=(2, 64, 64, 3)).astype(np.float32)
    np.savez(folder / "reference.npz", x=x, y=model(x, training=False).numpy())
    np.savez(folder / "expected.npz", **dict(numbered(model)))
    model.save_weights(folder / "weights.h5")
    model.save_weights(folder / "newer.weights.h5")
    model.save(folder / "full.h5")
    model.save(folder / "saved", save_format="tf")
    of_keras = tf_keras.applications.EfficientNetB0(weights=None, classes=7, input_shape=(64, 64, 3))
    of_keras.save_weights(folder / "keras.h5")
    of_keras.save_weights(folder / "keras.weights.h5")
    of_keras.save_weights(folder / "keras_ckpt" / "ckpt")
    pooled = layers.GlobalAveragePooling2D()(of_keras.get_layer("top_activation").output)
    with_head = tf_keras.Model(of_keras.input, layers.Dense(3)(layers.Dense(9)(pooled)))
    with_head.save_weights(folder / "keras_head.weights.h5")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
