"""Has TensorFlow write the checkpoints that `port.py` measures; run by it in a process of its own.

Usage: python write_checkpoints.py FOLDER {hybrid|large|many|config} COUNT

COUNT is the number of classes, or of variables for ``many``.
"""

from __future__ import annotations

import importlib
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import sys

import tensorflow as tf

MODELS = {"hybrid": "MobileNetV4HybridMedium", "large": "MobileNetV4ConvSmall"}


def write_network(prefix: str, model_id: str, classes: int) -> None:
    """Save a seeded Model Garden classifier as its trainer does."""
    from official.vision.modeling import classification_model
    from official.vision.modeling.backbones import mobilenet

    tf.keras.utils.set_random_seed(20)
    backbone = mobilenet.MobileNet(model_id=model_id)
    model = classification_model.ClassificationModel(backbone, num_classes=classes)
    tf.train.Checkpoint(model=model).write(prefix)


def write_many(prefix: str, count: int) -> None:
    """Save `count` small variables in folders of a hundred."""
    root = tf.Module()
    root.groups = [
        [tf.Variable([float(number), 0.5], name=f"v{number}") for number in range(start, start + 100)]
        for start in range(0, count, 100)
    ]
    tf.train.Checkpoint(root=root).write(prefix)


def write_config(prefix: str, classes: int) -> None:
    """Save MobileNetV2 with its network, as both generations of Keras do."""
    for generation in ("keras", "tf_keras"):
        applications = importlib.import_module(f"{generation}.applications")
        model = applications.MobileNetV2(weights=None, classes=classes)
        model.save(f"{prefix}-{generation}.keras")
        model.save(f"{prefix}-{generation}.h5")
        model.export(f"{prefix}-{generation}")


def main() -> None:
    """Write one checkpoint."""
    folder, kind, count = sys.argv[1:]
    prefix = f"{folder}/{kind}"
    if kind == "many":
        write_many(prefix, int(count))
    elif kind == "config":
        write_config(prefix, int(count))
    else:
        write_network(prefix, MODELS[kind], int(count))


if __name__ == "__main__":
    main()
