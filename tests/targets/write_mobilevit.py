"""Let transformers and TensorFlow write a MobileViT in both forms, and its variables by object path."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ |= {"USE_TORCH": "0", "TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1"}

import numpy as np
import tensorflow as tf
from transformers import MobileViTConfig, TFMobileViTForImageClassification


def main(folder, variant):
    """Write ``ckpt``, ``tf_model.h5`` and ``expected.npz`` of a variant of the table, with 7 classes."""
    from porter.tables.shipped import load_tables

    arguments = load_tables().variant(variant).source.arguments
    network = TFMobileViTForImageClassification(MobileViTConfig(num_labels=7, **arguments))
    network.build()
    generator = np.random.default_rng(0)
    for variable in network.variables:
        variable.assign(generator.uniform(0.5, 1.5, variable.shape))
    tf.train.Checkpoint(network).write(str(folder / "ckpt"))
    network.save_pretrained(folder)
    reader = tf.train.load_checkpoint(str(folder / "ckpt"))
    keys = [key for key in reader.get_variable_to_shape_map() if key != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    np.savez(folder / "expected.npz", **{key.removesuffix(suffix): reader.get_tensor(key) for key in keys})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
