"""Write checkpoints as TensorFlow 1 programs did: published names, moving averages, no objects.

Usage: python write_tensorflow1.py FOLDER NETWORK...

Writes for every network FOLDER/NAME/model.ckpt-100, averages.ckpt (the moving averages alone) and
expected.npz: the moving average of every variable by name.
"""

from __future__ import annotations

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow1_networks import NETWORKS
from tensorflow1_variables import Variable

FEW = 5


def random_values(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return kernels that keep the signal's size, and positive numbers around 1 for the rest."""
    if len(shape) == 1:
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    fan_in = np.prod(shape[:2]) if shape[3:] == (1,) else np.prod(shape[:-1])
    return rng.standard_normal(shape, np.float32) * np.float32(fan_in**-0.5)


def write(folder: Path, variables: Iterator[Variable]) -> None:
    """Make the variables, their averages and a few of an optimizer's slots, and save them by name."""
    rng = np.random.default_rng(11)
    tensors, averages = {"global_step": np.int64(100)}, {}
    for number, (name, shape) in enumerate(variables):
        tensors[name] = random_values(rng, shape)
        averages[name] = random_values(rng, shape)
        if number < FEW:
            tensors[f"{name}/RMSProp"] = random_values(rng, shape)
    shadows = {f"{name}/ExponentialMovingAverage": value for name, value in averages.items()}
    save(folder / "model.ckpt-100", tensors | shadows)
    save(folder / "averages.ckpt", shadows)
    np.savez(folder / "expected.npz", **averages)


def save(prefix: Path, tensors: dict[str, np.ndarray]) -> None:
    """Save tensors by name, with the operation that tf.compat.v1's Saver puts into a graph."""
    names = list(tensors)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[*tensors.values()],
    )


def main() -> None:
    """Write every network into a folder of its own."""
    folder, *names = sys.argv[1:]
    for name in names:
        inner = Path(folder) / name
        inner.mkdir()
        write(inner, NETWORKS[name]())


if __name__ == "__main__":
    main()
