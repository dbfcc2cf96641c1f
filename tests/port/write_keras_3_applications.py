"""Run by the tests in a process of its own: networks of keras.applications, built, saved and run by Keras 3.

Usage: python write_keras_3_applications.py FOLDER JSON

JSON gives the arguments of each network by name, its class as ``model``. Writes FOLDER/NAME/model.keras,
model.h5, state.weights.h5 and run.npz: an image behind the layers that prepare it, and the logits, both as
Keras computes them in float64 (N, H, W, C) and (N, classes).
"""

from __future__ import annotations

import os

os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}

import json
import sys
from pathlib import Path

import keras
import numpy as np

CLASSES = 7
SIZE = 96
POSITIVE = ("gamma", "moving_variance", "variance")
CENTRED = ("beta", "bias", "moving_mean", "mean")


def main() -> None:
    """Write every network."""
    folder, networks = Path(sys.argv[1]), json.loads(sys.argv[2])
    for name, arguments in networks.items():
        keras.backend.clear_session()
        out = folder / name
        out.mkdir()
        network = build("float32", dict(arguments))
        randomise(network)
        network.save(out / "model.keras")
        network.save(out / "model.h5")
        network.save_weights(out / "state.weights.h5")
        np.savez(out / "run.npz", **run(build("float64", dict(arguments)), network.get_weights()))


def build(precision: str, arguments: dict) -> keras.Model:
    """Build a network that computes in `precision` and gives logits."""
    keras.config.set_floatx(precision)
    keras.config.set_dtype_policy(precision)
    make = getattr(keras.applications, arguments.pop("model"))
    options = {"weights": None, "classes": CLASSES, "classifier_activation": None}
    return make(input_shape=(SIZE, SIZE, 3), **options, **arguments)


def randomise(network: keras.Model) -> None:
    """Give vectors seeded values, which Keras makes 0 or 1; kernels keep Keras's own random ones."""
    keras.utils.set_random_seed(3)
    rng = np.random.default_rng(3)
    for weight in network.weights:
        if weight.name in POSITIVE:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif weight.name in CENTRED:
            # In steps of 2**-10: a bias that goes into a mean is exact in float32.
            weight.assign(rng.integers(-256, 257, weight.shape) / 1024)


def run(network: keras.Model, weights: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return what Keras computes of an image with values 0 to 255."""
    network.set_weights(weights)
    prepared = network.inputs[0]
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
        if isinstance(layer, keras.layers.Normalization | keras.layers.Rescaling):
            prepared = layer.output
    image = np.random.default_rng(4).uniform(0, 255, (2, SIZE, SIZE, 3))
    results = keras.Model(network.inputs, [prepared, network.outputs[0]])([image], training=False)
    return {name: np.asarray(value) for name, value in zip(("prepared", "logits"), results, strict=True)}


if __name__ == "__main__":
    main()
