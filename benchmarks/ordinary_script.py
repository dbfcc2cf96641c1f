"""What a person would write without porter: TensorFlow reads, numpy transposes, safetensors writes.

Usage: python ordinary_script.py CHECKPOINT MAPPING.json OUT.safetensors

The mapping, a list of [checkpoint key, target name, axes, target shape], is given to it, as it would be a
table in the script. It checks nothing and hashes nothing.
"""

from __future__ import annotations

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from safetensors.numpy import save_file


def main() -> None:
    """Port one checkpoint."""
    checkpoint, mapping, out = sys.argv[1:]
    reader = tf.train.load_checkpoint(checkpoint)
    tensors = {}
    for key, target, axes, shape in json.loads(Path(mapping).read_text()):
        if key is None:
            tensors[target] = np.zeros(shape, np.int64)
        else:
            # save_file writes wrong bytes, silently, for arrays that are not contiguous.
            tensors[target] = np.ascontiguousarray(reader.get_tensor(key).transpose(axes).reshape(shape))
    save_file(tensors, out)


if __name__ == "__main__":
    main()
