"""Run by the tests in a process of its own: models in training, saved with what their optimizers hold.

Usage: python write_averages.py KERAS FOLDER

KERAS is ``tf_keras`` or ``keras``. Writes FOLDER/NAME/ for each way to train, with the model in every
container, and answers.npz: ``x`` (N, H, W, C), what the model answers with its own weights (``raw``) and with
the averages that its optimizer holds (``ema``), both (N, classes) float32.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}

import numpy as np
import tensorflow as tf

SIZE = 64
STEPS = 3


def main() -> None:
    """Write every model."""
    keras, folder = importlib.import_module(sys.argv[1]), Path(sys.argv[2])
    optimizers = keras.optimizers
    ways = {
        "adam": lambda: optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.5),
        "momentum": lambda: optimizers.SGD(1e-3, momentum=0.9),
        "frozen": lambda: optimizers.SGD(1e-1, momentum=0.9, use_ema=True, ema_momentum=0.5),
    }
    if keras.__name__ == "tf_keras":
        ways["wrapped"] = lambda: averaging(keras)(1e-3, momentum=0.9)
    for name, make in ways.items():
        write(folder / name, keras, make(), train=STEPS)
    write(folder / "untrained", keras, ways["adam"](), train=0)


def averaging(keras):
    """Return an optimizer with the slot that MovingAverage and SWA of TensorFlow Addons have."""

    class Averaging(keras.optimizers.legacy.SGD):
        def _create_slots(self, variables):
            super()._create_slots(variables)
            for variable in variables:
                self.add_slot(variable, "average")

        def finalize_variable_values(self, variables):
            for variable in variables:
                variable.assign(self.get_slot(variable, "average"))

    return Averaging


def write(folder: Path, keras, optimizer, train: int) -> None:
    """Train a small network and save it."""
    folder.mkdir(parents=True)
    keras.backend.clear_session()
    keras.utils.set_random_seed(5)
    model = keras.applications.MobileNetV2(
        input_shape=(SIZE, SIZE, 3), alpha=0.35, weights=None, classes=4, classifier_activation=None
    )
    randomise(model)
    if folder.name == "frozen":
        for layer in model.layers[20:40]:
            layer.trainable = False
    model.compile(optimizer, "mse")
    x = np.random.default_rng(6).uniform(-1, 1, (2, SIZE, SIZE, 3)).astype("float32")
    if not folder.name.startswith("wrapped"):
        optimizer.build(model.trainable_variables)
    for step in range(train):  # averages do not care where gradients come from
        rng = np.random.default_rng(step)
        gradients = [
            tf.constant(rng.normal(0, 0.1, v.shape).astype("float32")) for v in model.trainable_variables
        ]
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    if folder.name == "wrapped":
        for variable in model.trainable_variables:
            optimizer.get_slot(variable, "average").assign(variable * 1.1)
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    if folder.name in ("adam", "wrapped"):
        model.save(folder / "model.h5")
    save_checkpoints(folder, model, optimizer)
    answers = {"x": x, "raw": np.asarray(model(x, training=False))}
    if train:
        optimizer.finalize_variable_values(model.trainable_variables)
        answers["ema"] = np.asarray(model(x, training=False))
    np.savez(folder / "answers.npz", **answers)


def save_checkpoints(folder: Path, model, optimizer) -> None:
    """Save objects, and lists of variables."""
    trainable, others = model.trainable_variables, model.non_trainable_variables
    for name, objects in {
        "objects": {"model": model, "optimizer": optimizer},
        "list": {"weights": model.weights, "optimizer": optimizer},
        "two_lists": {"model_vars": trainable, "other_vars": others},
        "joined_list": {"weights": [*trainable, *others]},
    }.items():
        tf.train.Checkpoint(**objects).write(str(folder / name))
    model.optimizer = None
    model.save_weights(folder / "alone.weights.h5")


def randomise(model) -> None:
    """Give every norm and bias a value of its own."""
    rng = np.random.default_rng(7)
    for variable in model.weights:
        name = (getattr(variable, "path", None) or variable.name).rpartition("/")[2]
        if name.startswith(("gamma", "moving_variance")):
            variable.assign(rng.uniform(0.7, 1.3, variable.shape).astype("float32"))
        elif name.startswith(("beta", "bias", "moving_mean")):
            variable.assign(rng.normal(0, 0.1, variable.shape).astype("float32"))


if __name__ == "__main__":
    main()
