"""Run by the tests in a process of its own: networks of the tables, saved by TensorFlow.

Usage: python write_variants.py FOLDER VARIANT...

Writes FOLDER/<variant>/ckpt-1 and FOLDER/<variant>/expected.npz: every variable's value by its object path
below the model, found by walking TensorFlow's own objects.
"""

from __future__ import annotations

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras

from porter.runners.builders import build, source_of
from porter.tables.shipped import load_tables

CLASSES = 11


def main() -> None:
    """Build, fill with seeded values and save each network."""
    folder, *names = sys.argv[1:]
    tables = load_tables()
    for name in names:
        variant = tables.variant(name)
        lengths = {free.name: free.default for free in variant.free.values()} | {"classes": CLASSES}
        if source_of(variant.source.name).fixed_size:
            lengths["size"] = (variant.input.size, variant.input.size)
        epsilon = None if variant.bn_eps is None else variant.bn_eps.default
        tf_keras.backend.clear_session()
        model = build(variant.source.name, variant.source.arguments, bn_eps=epsilon, **lengths)
        rng = np.random.default_rng(20241120)
        for variable in model.variables:
            variable.assign(_values(rng, variable))
        out = Path(folder) / name
        tf.train.Checkpoint(model=model).save(str(out / "ckpt"))
        np.savez(out / "expected.npz", **dict(_variables(model, "")))


def _values(rng, variable):
    values = rng.standard_normal(variable.shape, np.float32).astype(variable.dtype.as_numpy_dtype)
    return np.abs(values) + np.float32(0.5) if "variance" in variable.name else values


def _variables(layer, path):
    """Yield (object path, value) below a layer or list; of a graph of layers those with weights."""
    children = layer._trackable_children()
    numbered = {name: child for name, child in children.items() if name.startswith("layer_with_weights-")}
    for name, child in (numbered or children).items():
        inner = f"{path}/{name}" if path else name
        if isinstance(child, tf.Variable):
            yield inner, child.numpy()
        elif isinstance(child, tf.Module | list):
            yield from _variables(child, inner)


if __name__ == "__main__":
    main()
