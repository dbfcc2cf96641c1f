"""Write networks of tf_keras.applications as TensorFlow saves them; a process of its own, run by the tests.

Usage: python write_keras_applications.py FOLDER MODEL JSON_ARGUMENTS WAY...

Writes FOLDER/WAY for each way and FOLDER/expected.npz: every variable by layer and attribute.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras

CLASSES = 11


def main() -> None:
    """Build, fill with numbers, save."""
    folder, model, arguments, *ways = sys.argv[1:]
    network = getattr(tf_keras.applications, model)(
        weights=None, input_shape=(64, 64, 3), classes=CLASSES, **json.loads(arguments)
    )
    rng = np.random.default_rng(5)
    for variable in network.variables:
        values = rng.uniform(0.5, 1.5, variable.shape)
        variable.assign(values.astype(variable.dtype.as_numpy_dtype))
    np.savez(f"{folder}/expected.npz", **expected(network))
    for way in ways:
        inner = Path(folder, way)
        inner.mkdir()
        save(way, network, inner)


def expected(network: tf_keras.Model) -> dict[str, np.ndarray]:
    """Return every variable as ``layer_with_weights-N/attribute``, N counting layers that have variables."""
    layers = [layer for layer in network.layers if layer.weights]
    return {
        f"layer_with_weights-{number}/{variable.name.rpartition('/')[2].removesuffix(':0')}": variable.numpy()
        for number, layer in enumerate(layers)
        for variable in layer.weights
    }


def save(way: str, network: tf_keras.Model, folder: Path) -> None:
    """Save the network in one of TensorFlow's ways."""
    match way:
        case "checkpoint":
            tf.train.Checkpoint(model=network).save(folder / "ckpt")
        case "save_weights":
            network.save_weights(folder / "ckpt")
        case "saved_model":
            network.save(folder, save_format="tf", save_traces=False)
        case "h5":
            network.save_weights(folder / "weights.h5")
        case "whole_h5":
            network.save(folder / "model.h5")
        case "keras":
            network.save(folder / "model.keras")
        case _:
            raise ValueError(way)


if __name__ == "__main__":
    main()
