"""Child process: a small network in training, with the averages that its optimizer holds.

Usage: python write_trained_mobilenet.py FOLDER

Writes FOLDER/ckpt and FOLDER/model.keras: Keras's MobileNet of a quarter's width, 64 pixels, 5 classes.
"""

from __future__ import annotations

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
import tf_keras

RNG = np.random.default_rng(13)
RANGES = {"variance": (0.6, 1.4), "gamma": (2.0, 4.0), "mean": (-0.1, 0.1), "bias": (-0.1, 0.1)}


class Averaging(tf_keras.optimizers.legacy.SGD):
    """An optimizer with the slot that MovingAverage and SWA of TensorFlow Addons have."""

    def _create_slots(self, variables):
        super()._create_slots(variables)
        for variable in variables:
            self.add_slot(variable, "average")


model = tf_keras.applications.MobileNet(input_shape=(64, 64, 3), alpha=0.25, weights=None, classes=5)
for variable in model.weights:
    for word, limits in RANGES.items():
        if word in variable.name.rpartition("/")[2]:
            variable.assign(RNG.uniform(*limits, tuple(variable.shape)))
optimizer = Averaging(1e-3)
gradients = [tf.zeros_like(variable) for variable in model.trainable_variables]
optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
for variable in model.trainable_variables:
    noise = RNG.normal(0, 0.01, tuple(variable.shape)).astype("float32")
    optimizer.get_slot(variable, "average").assign(variable + noise)
tf.train.Checkpoint(model=model, optimizer=optimizer).write(sys.argv[1] + "/ckpt")
model.save(sys.argv[1] + "/model.keras")
