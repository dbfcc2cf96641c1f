"""Child process: ``python keras_networks.py {tf_keras,keras} FOLDER`` saves a network in every way there is.

MobileNetV1 of a quarter's width with seven classes and random weights, which `expected.npz` holds in order.
Ways: a checkpoint, a SavedModel, ``.h5`` with and without config, ``.weights.h5``, ``.keras``; a checkpoint,
a SavedModel and an ``.h5`` of a Sequential around the network without its classifier, with a head of its own.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402  (after the settings above)
import tensorflow as tf  # noqa: E402

WRITER, FOLDER = sys.argv[1], Path(sys.argv[2])
if WRITER == "tf_keras":
    import tf_keras as keras
else:
    import keras

RNG = np.random.default_rng(5)


def network(**options):
    """Build the network and give every variable random values."""
    model = keras.applications.MobileNet(input_shape=(96, 96, 3), alpha=0.25, weights=None, **options)
    for weight in model.weights:
        weight.assign(np.abs(RNG.standard_normal(weight.shape)) + 0.1)
    return model


def save_model(model, folder: Path) -> None:
    """Write a SavedModel the way this Keras does."""
    if WRITER == "keras":
        model.export(str(folder), verbose=False)
    else:
        model.save(str(folder), save_format="tf")


def foreign_head(base):
    """Return what transfer learning makes: the network, frozen but for its last block, and two layers."""
    for layer in base.layers[:-6]:
        layer.trainable = False
    pooled = keras.layers.GlobalAveragePooling2D()
    layers = [keras.layers.Dense(10, activation="relu"), keras.layers.Dense(3, activation="softmax")]
    model = keras.Sequential([keras.Sequential([base, pooled]), keras.Sequential(layers)])
    model.build((None, 96, 96, 3))
    return model


def main() -> None:
    """Write everything below FOLDER."""
    model = network(classes=7, classifier_activation=None)
    np.savez(FOLDER / "expected.npz", *[np.asarray(weight) for weight in model.weights])
    tf.train.Checkpoint(model=model).write(str(FOLDER / "ckpt"))
    save_model(model, FOLDER / "saved_model")
    model.save(str(FOLDER / "full.h5"))
    model.save(str(FOLDER / "archive.keras"))
    model.save_weights(str(FOLDER / "state.weights.h5"))
    if WRITER != "keras":
        model.save_weights(str(FOLDER / "only.h5"))
    transfer = foreign_head(network(include_top=False))
    tf.train.Checkpoint(model=transfer).write(str(FOLDER / "foreign-ckpt"))
    save_model(transfer, FOLDER / "foreign_model")
    transfer.save(str(FOLDER / "foreign.h5"))
    base = transfer.layers[0].layers[0]
    np.savez(FOLDER / "foreign.npz", *[np.asarray(weight) for weight in base.weights])


if __name__ == "__main__":
    main()
