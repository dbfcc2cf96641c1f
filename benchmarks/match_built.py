"""TensorFlow's network of a variant, which `benchmarks/match.py` matches: ``match_built:build``.

Usage: ``MATCH_VARIANT=NAME benchmarks/match_built.py FOLDER [--saved-model]`` writes it, with weights of
which no two are equal and, as training leaves them, norms that know what they take: as ``model.h5`` if Keras
defines it, else as a SavedModel in ``saved``, if said, or as a checkpoint in ``checkpoint``; and
``variables.json``: name, shape and digest of each variable, in the order in which the model made them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from measured_norms import measure_norms

from porter.runners.builders import build as build_source
from porter.runners.builders import source_of
from porter.tables.shipped import load_tables

_SIDE = 224


def build() -> Any:
    """Build the network of the variant that the environment names, with the lengths it takes by default."""
    variant = load_tables().variant(os.environ["MATCH_VARIANT"])
    free: dict[str, Any] = {name: each.default for name, each in variant.free.items()}
    epsilon = variant.bn_eps and variant.bn_eps.default
    if source_of(variant.source.name).fixed_size:
        free["size"] = (_SIDE, _SIDE)
    model = build_source(variant.source.name, variant.source.arguments, bn_eps=epsilon, **free)
    # transformers declares what it takes in words of its own.
    model._saved_model_inputs_spec = None  # noqa: SLF001
    if not model.built:
        model(tf.zeros((1, _SIDE, _SIDE, 3)))
    return model


def main(folder: Path, *, as_saved_model: bool) -> None:
    """Write the network."""
    model, generator = build(), np.random.default_rng(0)
    variables = [each for each in model.variables if each.dtype.is_floating]
    for each in variables:
        if "kernel" not in each.name:
            scales = "gamma" in each.name or "variance" in each.name
            each.assign(
                generator.uniform(0.6, 1.4, each.shape) if scales else generator.normal(0, 0.1, each.shape)
            )
    shape = getattr(model, "input_shape", None) or (None,) * 4
    measure_norms(model, (shape[1] or _SIDE, shape[2] or _SIDE, shape[3] or 3))
    told = [
        (each.name.removesuffix(":0"), list(each.shape), hashlib.sha256(each.numpy().tobytes()).hexdigest())
        for each in variables
    ]
    (folder / "variables.json").write_text(json.dumps(told), encoding="utf-8")
    if load_tables().variant(os.environ["MATCH_VARIANT"]).source.name.startswith("keras."):
        model.save(folder / "model.h5")
    elif as_saved_model:  # layers of somebody's own class can be loaded from a graph alone
        call = tf.function(lambda images: model(images, training=False))
        call = call.get_concrete_function(tf.TensorSpec((None, _SIDE, _SIDE, 3)))
        tf.saved_model.save(model, str(folder / "saved"), signatures=call)
    else:
        tf.train.Checkpoint(model=model).write(str(folder / "checkpoint"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--saved-model", action="store_true")
    asked = parser.parse_args()
    main(asked.folder, as_saved_model=asked.saved_model)
