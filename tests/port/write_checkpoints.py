"""Run by the tests in a process of its own: Model Garden networks, saved by TensorFlow in every way it has.

Usage: python write_checkpoints.py FOLDER MODEL_ID [WAY ...]

Writes FOLDER/<way>/... and FOLDER/expected.npz: every variable's value by its object path below the
classification model, plus ``average:<path>`` for moving averages.
"""

from __future__ import annotations

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras
from official.modeling.optimization import ema_optimizer
from official.vision.modeling import classification_model
from official.vision.modeling.backbones import mobilenet

CLASSES = 11


def main() -> None:
    """Build one network with seeded values and save it in the ways that were asked for."""
    folder, model_id, *ways = sys.argv[1:]
    out = Path(folder)
    backbone = mobilenet.MobileNet(model_id=model_id)
    model = classification_model.ClassificationModel(backbone, num_classes=CLASSES)
    rng = np.random.default_rng(20241120)
    for variable in model.variables:
        variable.assign(_values(rng, variable))
    expected = {path: variable.numpy() for path, variable in paths(model).items()}
    for way in ways:
        if way == "optimizer":
            expected |= save_with_optimizer(model, backbone, rng, str(out / way / "ckpt"))
        else:
            save(way, model, backbone, str(out / way))
    np.savez(out / "expected.npz", **expected)


def _values(rng: np.random.Generator, variable: tf.Variable) -> np.ndarray:
    values = rng.standard_normal(variable.shape).astype(np.float32)
    return np.abs(values) + np.float32(0.5) if "variance" in variable.name else values


def paths(model: tf_keras.Model) -> dict[str, tf.Variable]:
    """Return the model's variables by object path: layer_with_weights edges, then attribute names."""
    found: dict[str, tf.Variable] = {}
    for part, network in (
        ("layer_with_weights-0", model.layers[1]),
        ("layer_with_weights-1", model.layers[-1]),
    ):
        layers = [layer for layer in getattr(network, "layers", []) if layer.weights]
        named = {f"{part}/layer_with_weights-{i}": layer for i, layer in enumerate(layers)} or {part: network}
        for path, layer in named.items():
            found |= _attributes(path, layer)
    return found


def _attributes(path: str, layer: tf_keras.layers.Layer) -> dict[str, tf.Variable]:
    found = {}
    for name, child in layer._trackable_children().items():
        if isinstance(child, tf.Variable):
            found[f"{path}/{name}"] = child
        elif isinstance(child, tf_keras.layers.Layer):
            found |= _attributes(f"{path}/{name}", child)
    return found


def save_with_optimizer(model, backbone, rng, prefix: str) -> dict[str, np.ndarray]:
    """Save with Model Garden's moving-average optimizer after one step; return the averages by path."""
    inner = tf_keras.optimizers.legacy.Adam(learning_rate=0.0)  # slots appear, values stay
    optimizer = ema_optimizer.ExponentialMovingAverage(inner, trainable_weights_only=True)
    optimizer.shadow_copy(model)
    variables = model.trainable_variables
    optimizer.apply_gradients([(tf.ones_like(v) * 1e-3, v) for v in variables])
    for variable in variables:
        average = optimizer.get_slot(variable, "average")
        average.assign(_values(rng, average))
    averaged = {id(variable) for variable in variables}
    averages = {
        f"average:{path}": optimizer.get_slot(variable, "average").numpy()
        for path, variable in paths(model).items()
        if id(variable) in averaged
    }
    step = tf.Variable(7, dtype=tf.int64)
    tf.train.Checkpoint(model=model, backbone=backbone, optimizer=optimizer, global_step=step).save(prefix)
    return averages


def save(way: str, model: tf_keras.Model, backbone: tf_keras.Model, folder: str) -> None:
    """Save the network in one of TensorFlow's ways."""
    match way:
        case "model":
            tf.train.Checkpoint(model=model).save(f"{folder}/ckpt")
        case "backbone":
            tf.train.Checkpoint(backbone=backbone).save(f"{folder}/ckpt")
        case "both":
            tf.train.Checkpoint(model=model, backbone=backbone).save(f"{folder}/ckpt")
        case "save_weights":
            model.save_weights(f"{folder}/weights")
        case "saved_model":
            # Without traces it takes seconds, not minutes; variables and object graph are the same.
            model.save(folder, save_format="tf", save_traces=False)
        case "saved_model_traced":
            tf.saved_model.save(model, folder)
        case "module":
            module = tf.Module()
            module.network = model
            tf.saved_model.save(module, folder)
        case _:
            raise ValueError(way)


if __name__ == "__main__":
    main()
