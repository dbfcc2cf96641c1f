"""Child process: a training directory of the Model Garden, as its trainer leaves it.

Usage: python write_garden_training.py FOLDER

MobileNetV2 of 0.35 width, 5 classes, epsilon 1e-5. FOLDER gets params.yaml, written by the Garden's own code,
and ckpt-1, in which every norm has statistics of its own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
from official.core import exp_factory, task_factory, train_utils
from official.vision import registry_imports  # noqa: F401

RANGES = {"variance": (0.6, 1.4), "gamma": (0.7, 1.3), "mean": (-0.1, 0.1), "beta": (-0.1, 0.1)}


def main(folder: Path) -> None:
    """Write the directory."""
    settings = exp_factory.get_exp_config("mobilenet_imagenet")
    settings.task.model.override(
        {
            "num_classes": 5,
            "input_size": [64, 64, 3],
            "backbone": {"mobilenet": {"filter_size_scale": 0.35}},
            "norm_activation": {"norm_epsilon": 1e-5},
        }
    )
    model = task_factory.get_task(settings.task).build_model()
    rng = np.random.default_rng(3)
    for variable in model.variables:
        for word, limits in RANGES.items():
            if word in variable.name.rpartition("/")[2]:
                variable.assign(rng.uniform(*limits, variable.shape))
    train_utils.serialize_config(settings, str(folder))
    tf.train.Checkpoint(model=model).write(str(folder / "ckpt-1"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
