"""Child process: small Keras networks of the kinds that people write, and what a match records of each.

Usage: python write_small_networks.py FOLDER
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from porter.runners.match_source import record

RNG = np.random.default_rng(5)


def flat(layers, x):
    """Flatten the images themselves."""
    return layers.Dense(5)(layers.Dense(8, activation="relu")(layers.Flatten()(x)))


def pool_first(layers, x):
    """Pool the images before the first convolution."""
    return classified(layers, layers.Conv2D(6, 3, padding="same")(layers.AveragePooling2D(2)(x)))


def norm_first(layers, x):
    """Normalise the images with a layer that is trained."""
    return classified(layers, layers.Conv2D(6, 3, padding="same")(layers.BatchNormalization()(x)))


def reversed_channels(layers, x):
    """Turn the order of colours round."""
    x = layers.Concatenate()([x[..., n : n + 1] for n in (2, 1, 0)])
    return classified(layers, layers.Conv2D(6, 3, padding="same")(x))


def two_outputs(layers, x):
    """Return classes and a box."""
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return [layers.Dense(5)(x), layers.Dense(4, activation="sigmoid")(x)]


def plain(layers, x):
    """Return two convolutions with ReLUs."""
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(x)
    return classified(layers, layers.Conv2D(6, 3, padding="same", activation="relu")(x))


def dilated(layers, x):
    """Dilate a convolution with a bias, and a depthwise one."""
    x = layers.Conv2D(6, 3, padding="same", dilation_rate=2, activation="relu")(x)
    return classified(layers, layers.DepthwiseConv2D(3, dilation_rate=2, activation="relu")(x))


def resized(layers, x):
    """Resize maps, as a U-Net does."""
    x = layers.Conv2D(6, 3, strides=2, activation="relu")(x)
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    return classified(layers, layers.Conv2D(6, 3)(x))


def groups(layers, x):
    """Normalise over groups of channels."""
    x = layers.Conv2D(6, 3, padding="same")(x)
    x = layers.GroupNormalization(3, epsilon=1e-5)(x)
    x = layers.Conv2D(6, 3, padding="same")(layers.ReLU()(x))
    return classified(layers, layers.GroupNormalization(2, epsilon=1e-5, center=False)(x))


def in_groups(layers, x):
    """Convolve groups of channels without a bias, which tf_keras compiles as a function of its own."""
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(x)
    start = tf.constant_initializer(0.1)  # TensorFlow's own, which the file's config then names
    x = layers.Conv2D(6, 3, groups=2, use_bias=False, kernel_initializer=start)(x)
    return classified(layers, layers.ReLU()(layers.BatchNormalization()(x)))


def apart(layers, x, order=(0, 1, 2)):
    """Convolve groups of channels with layers of their own, each with a norm and an activation."""
    parts = keras.ops.split(layers.Conv2D(6, 3, padding="same", activation="relu")(x), 3, axis=-1)
    parts = [layers.Conv2D(4, 3, strides=2)(part) for part in parts]
    parts = [layers.ReLU(6)(layers.BatchNormalization()(part)) for part in parts]
    return classified(layers, layers.Concatenate()([parts[place] for place in order]))


def apart_turned(layers, x):
    """Put the groups together in another order, which no grouped convolution does."""
    return apart(layers, x, (1, 0, 2))


def multiplied_maps(layers, x, factors=1.25):
    """Multiply a map by a number in front of a convolution."""
    x = layers.Rescaling(factors)(layers.Conv2D(6, 3, padding="same", activation="relu")(x))
    return classified(layers, layers.Conv2D(6, 3, activation="relu")(x))


def multiplied_channels(layers, x):
    """Multiply channels by numbers of their own."""
    return multiplied_maps(layers, x, [1.25, 1.25, 1.25, 1.25, 1.25, 1.5])


def slopes(layers, x):
    """Take PReLU after a convolution, and after a dense layer."""
    x = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(6, 3, padding="same")(x))
    x = layers.PReLU()(layers.Dense(7)(layers.GlobalAveragePooling2D()(x)))
    return layers.Dense(5)(x)


def unbiased(layers, x):
    """Leave biases, scales and offsets out wherever a layer may."""
    x = layers.BatchNormalization(center=False)(layers.Conv2D(6, 3, use_bias=False, activation="relu")(x))
    x = layers.Conv2DTranspose(6, 2, strides=2, use_bias=False, activation="relu")(x)
    x = layers.BatchNormalization(center=False, scale=False)(layers.MaxPooling2D(4)(x))
    x = layers.Dense(8, use_bias=False, activation="relu")(layers.Flatten()(x))
    return layers.Dense(5, use_bias=False)(layers.LayerNormalization(epsilon=1e-5, center=False)(x))


def multiplied(layers, x):
    """Make two channels of each, with a bias."""
    return classified(layers, layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu")(x))


def attention(layers, x):
    """Attend over patches, with a GELU after it."""
    x = layers.Reshape((16, 12))(layers.Conv2D(12, 4, strides=4)(x))
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    x = layers.Add()([x, layers.MultiHeadAttention(3, 4)(y, y)])
    x = layers.Dense(12)(layers.Dense(20, activation="gelu")(layers.LayerNormalization(epsilon=1e-6)(x)))
    return layers.Dense(5)(layers.GlobalAveragePooling1D()(x))


def shared(layers, x):
    """Call a convolution and a norm twice."""
    conv, norm = layers.Conv2D(3, 3, padding="same", activation="relu"), layers.BatchNormalization()
    return classified(layers, norm(conv(norm(conv(x)))))


def gated_blocks(layers, x, count=20):
    """Add what a gate lets through to what a block takes, over and over."""
    x = layers.Conv2D(6, 3, padding="same")(x)
    for _ in range(count):
        y = layers.BatchNormalization()(layers.Conv2D(12, 3, padding="same", use_bias=False)(x))
        gate = layers.Dense(2, activation="relu")(layers.GlobalAveragePooling2D(keepdims=True)(y))
        y = layers.Multiply()([y, layers.Dense(12, activation="sigmoid")(gate)])
        x = layers.Add()([x, layers.BatchNormalization()(layers.Conv2D(6, 1, use_bias=False)(y))])
    return classified(layers, x)


def grey(layers, x):
    """Take images of one channel."""
    return classified(layers, layers.Conv2D(6, 3, activation="tanh")(x))


def classified(layers, x):
    """Return classes."""
    return layers.Dense(5)(layers.GlobalAveragePooling2D()(x))


NETWORKS = (
    *(flat, pool_first, norm_first, reversed_channels, two_outputs, plain, dilated, resized, groups, slopes),
    *(unbiased, multiplied, attention, shared, gated_blocks, grey, apart, apart_turned),
    *(multiplied_maps, multiplied_channels),
)


def build_unbiased():
    """Return it as the code that a person names on the command line does."""
    return network(keras, unbiased)


def build_groups():
    """Return the network of tf_keras as such code does."""
    return network(tf_keras, groups)


def network(generation, build):
    """Return a network, with values that differ everywhere."""
    given = generation.Input((16, 16, 1 if build is grey else 3))
    model = generation.Model(given, build(generation.layers, given))
    for variable in model.weights:
        name, shape = getattr(variable, "path", variable.name), tuple(variable.shape)
        if len(shape) == 1 or "bias" in name:
            is_scale = any(word in name for word in ("gamma", "variance"))
            variable.assign(RNG.uniform(0.6, 1.4, shape) if is_scale else RNG.normal(0, 0.3, shape))
        elif "alpha" in name:
            variable.assign(RNG.uniform(0.1, 0.4, shape))
    return model


def write(folder, name, model):
    """Write a network, what it answers, and what a match records of it."""
    model.save(folder / f"{name}.keras")
    if name not in ("two_outputs", "grey"):
        np.save(folder / f"{name}_y.npy", np.asarray(model(np.load(folder / "x.npy"))))
    keep(folder, name, f"{name}.keras")


def keep(folder, name, file):
    """Write what a match records of a file."""
    out = folder / f"recorded {name}"
    out.mkdir()
    request = {"source": str(folder / file), "function": "", "seeds": [1, 2], "out": str(out)}
    (out / "answer.json").write_text(json.dumps(record(request), default=str))


def main(folder):
    """Write all of them; one as Keras exports it, two as weights alone, two of tf_keras."""
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32))
    models = {build.__name__: network(keras, build) for build in NETWORKS}
    models |= {"old_groups": network(tf_keras, groups), "in_groups": network(tf_keras, in_groups)}
    for name, model in models.items():
        write(folder, name, model)
    tf.train.Checkpoint(model=models["old_groups"]).write(str(folder / "groups-1"))
    models["unbiased"].save_weights(folder / "unbiased.weights.h5")
    preset = folder / "preset"  # as KerasHub writes one
    preset.mkdir()
    (preset / "config.json").write_text("{}")
    models["unbiased"].save_weights(preset / "model.weights.h5")
    models["plain"].export(folder / "exported", verbose=False)
    keep(folder, "exported", "exported")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
