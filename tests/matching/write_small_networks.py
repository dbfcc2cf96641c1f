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

from porter.runners.match_source import record

RNG = np.random.default_rng(5)
layers = keras.layers


def flat(x):
    """Flatten the images themselves."""
    return layers.Dense(5)(layers.Dense(8, activation="relu")(layers.Flatten()(x)))


def pool_first(x):
    """Pool the images before the first convolution."""
    return classified(layers.Conv2D(6, 3, padding="same")(layers.AveragePooling2D(2)(x)))


def norm_first(x):
    """Normalise the images with a layer that is trained."""
    return classified(layers.Conv2D(6, 3, padding="same")(layers.BatchNormalization()(x)))


def reversed_channels(x):
    """Turn the order of colours round."""
    x = layers.Concatenate()([x[..., n : n + 1] for n in (2, 1, 0)])
    return classified(layers.Conv2D(6, 3, padding="same")(x))


def two_outputs(x):
    """Return classes and a box."""
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return [layers.Dense(5)(x), layers.Dense(4, activation="sigmoid")(x)]


def plain(x):
    """Return two convolutions with ReLUs."""
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(x)
    return classified(layers.Conv2D(6, 3, padding="same", activation="relu")(x))


def dilated(x):
    """Dilate a convolution with a bias, and a depthwise one."""
    x = layers.Conv2D(6, 3, padding="same", dilation_rate=2, activation="relu")(x)
    return classified(layers.DepthwiseConv2D(3, dilation_rate=2, activation="relu")(x))


def resized(x):
    """Resize maps, as a U-Net does."""
    x = layers.Conv2D(6, 3, strides=2, activation="relu")(x)
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    return classified(layers.Conv2D(6, 3)(x))


def groups(x):
    """Normalise over groups of channels."""
    x = layers.Conv2D(6, 3, padding="same")(x)
    x = layers.GroupNormalization(3, epsilon=1e-5)(x)
    x = layers.Conv2D(6, 3, padding="same")(layers.ReLU()(x))
    return classified(layers.GroupNormalization(2, epsilon=1e-5, center=False)(x))


def slopes(x):
    """Take PReLU after a convolution, and after a dense layer."""
    x = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(6, 3, padding="same")(x))
    x = layers.PReLU()(layers.Dense(7)(layers.GlobalAveragePooling2D()(x)))
    return layers.Dense(5)(x)


def classified(x):
    """Return classes."""
    return layers.Dense(5)(layers.GlobalAveragePooling2D()(x))


NETWORKS = (
    *(flat, pool_first, norm_first, reversed_channels, two_outputs, plain, dilated, resized, groups, slopes),
)


def write(folder, name, build):
    """Write a network, what it answers, and what a match records of it."""
    given = keras.Input((16, 16, 3))
    model = keras.Model(given, build(given))
    for variable in model.weights:
        shape = tuple(variable.shape)
        if len(shape) == 1:
            is_scale = variable.path.endswith(("gamma", "variance"))
            variable.assign(RNG.uniform(0.6, 1.4, shape) if is_scale else RNG.normal(0, 0.3, shape))
        elif variable.path.endswith("alpha"):
            variable.assign(RNG.uniform(0.1, 0.4, shape))
    model.save(folder / f"{name}.keras")
    if name != "two_outputs":
        np.save(folder / f"{name}_y.npy", np.asarray(model(np.load(folder / "x.npy"))))
    keep(folder, name, f"{name}.keras")
    return model


def keep(folder, name, file):
    """Write what a match records of a file."""
    out = folder / f"recorded {name}"
    out.mkdir()
    request = {"source": str(folder / file), "function": "", "seeds": [1, 2], "out": str(out)}
    (out / "answer.json").write_text(json.dumps(record(request), default=str))


def main(folder):
    """Write all of them, and one as Keras exports it."""
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32))
    models = {build.__name__: write(folder, build.__name__, build) for build in NETWORKS}
    models["plain"].export(folder / "exported", verbose=False)
    keep(folder, "exported", "exported")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
