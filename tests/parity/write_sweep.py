"""Writes checkpoints of one network for a sweep: run as ``python write_sweep.py FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

import tf_keras


def write(folder):
    """Weights alone with and without a classifier, and whole models that differ in their epsilon."""
    made = {}
    for number, name in enumerate(("a", "b", "c")):
        tf_keras.utils.set_random_seed(number)
        made[name] = network = tf_keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None)
        network.save_weights(folder / f"{name}.weights.h5")
    bare = tf_keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None, include_top=False)
    bare.save_weights(folder / "bare.weights.h5")
    made["a"].save(folder / "whole.h5")
    config = made["a"].get_config()
    for layer in config["layers"]:
        if layer["class_name"] == "BatchNormalization":
            layer["config"]["epsilon"] = 0.05
    other = tf_keras.Model.from_config(config)
    other.set_weights(made["a"].get_weights())
    other.save(folder / "epsilon.h5")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
