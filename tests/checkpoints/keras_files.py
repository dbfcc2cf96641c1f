"""Child process: one generation of Keras writes small models in every way that it has.

``python keras_files.py {tf_keras,tf.keras,keras} FOLDER``: writes ``<model>.<way>`` files, and for each model
what is in it: ``<model>.npz``, arrays by the object path that TensorFlow's checkpoint gives the variable, and
the checkpoint itself where this Keras is one whose checkpoints have such paths.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402  (after the settings above)

WRITER, FOLDER = sys.argv[1], Path(sys.argv[2])
if WRITER == "tf.keras":
    import tensorflow as tf

    keras = tf.keras
elif WRITER == "tf_keras":
    import tf_keras as keras
else:
    import keras

layers = keras.layers
RNG = np.random.default_rng(11)


def flat(prefix: str = ""):
    """Return a functional model of auto-numbered layers of each kind that tables know."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, use_bias=False)(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    x = layers.DepthwiseConv2D(3, use_bias=False)(x)
    x = layers.BatchNormalization(scale=False)(x)
    x = layers.Conv2D(4, 1)(x)
    x = layers.BatchNormalization()(x)
    x = layers.Lambda(lambda y: y * 2)(x)
    x = layers.SeparableConv2D(5, 3)(x)
    x = layers.LayerNormalization()(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.5)(x)
    return keras.Model(inputs, layers.Dense(3, name=f"{prefix}logits")(x))


def nested():
    """Return a model around another that is partly frozen: Keras lists what trains first."""
    base = flat("inner_")
    for layer in base.layers[:5]:
        layer.trainable = False
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, layers.Dense(2)(layers.Dense(7)(base(inputs))))


def sequential():
    """Return a Sequential: its list of layers has no input layer."""
    return keras.Sequential(
        [keras.Input((6,)), layers.Dense(4), layers.BatchNormalization(), layers.Dense(2)]
    )


def many():
    """Return twelve equal layers: sorted by name the eleventh comes third."""
    inputs = x = keras.Input((4, 4, 2))
    for _ in range(12):
        x = layers.BatchNormalization()(layers.Conv2D(2, 1, use_bias=False)(x))
    return keras.Model(inputs, x)


_LEAVES = {"DepthwiseConv2D": {"kernel": "depthwise_kernel"}}


def variables(model, prefix: str = ""):
    """Yield (object path, variable) as TensorFlow's checkpoint of `model` has them."""
    number = 0
    for layer in model.layers:
        if not layer.weights:
            continue
        path = f"{prefix}layer_with_weights-{number}/"
        number += 1
        if isinstance(layer, keras.Model):
            yield from variables(layer, path)
        else:
            for weight in layer.weights:
                leaf = weight.name.split("/")[-1].split(":")[0]
                yield path + _LEAVES.get(type(layer).__name__, {}).get(leaf, leaf), weight


def ways(model, name: str):
    """Yield (file name, function that writes it)."""
    yield f"{name}.full.h5", model.save
    yield f"{name}.keras", model.save
    yield f"{name}.weights.h5", model.save_weights
    if WRITER != "keras":
        yield f"{name}.only.h5", model.save_weights


def main() -> None:
    """Write everything below FOLDER."""
    for name, build in (("flat", flat), ("nested", nested), ("sequential", sequential), ("many", many)):
        model = build()
        for weight in model.weights:
            weight.assign(RNG.standard_normal(weight.shape))
        if name == "flat":  # two slots for every variable that trains
            model.compile(optimizer="adam", loss="mse")
            model.train_on_batch(np.zeros((2, 8, 8, 3), np.float32), np.zeros((2, 3), np.float32))
        values = {path: np.asarray(weight) for path, weight in variables(model)}
        np.savez(FOLDER / f"{name}.npz", **values)
        for file, write in ways(model, name):
            write(str(FOLDER / file))
        if WRITER != "keras":
            import tensorflow as tf

            tf.train.Checkpoint(model=model).write(str(FOLDER / f"{name}-ckpt"))
    (FOLDER / "version.txt").write_text(keras.__version__)


if __name__ == "__main__":
    main()
