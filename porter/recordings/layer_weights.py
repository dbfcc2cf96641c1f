"""Random weights of a network whose layers are known by their kinds, for a match."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from porter.core.checkpoint import Array

# Gammas are large enough for what an activation caps to be reached.
_RANGES = {"variance": (0.6, 1.4), "moving_variance": (0.6, 1.4), "gamma": (0.8, 4.0)}


def random_weights(
    shapes: Mapping[str, tuple[int, ...]], roles: Mapping[str, tuple[str, str]], seed: int
) -> dict[str, Array]:
    """Return float64 values by key, with which signals neither fade nor grow.

    Args:
        shapes: Shape of each variable in TensorFlow's layout, by key.
        roles: Kind of the layer and what the variable is in it, by key.
        seed: Of the generator.
    """
    generator = np.random.default_rng(seed)
    found = {}
    for key, shape in sorted(shapes.items()):
        kind, role = roles.get(key, ("", ""))
        if role in _RANGES:
            values = generator.uniform(*_RANGES[role], shape)
        elif role == "kernel" or len(shape) > 1:
            values = generator.normal(0, math.sqrt(1.6 / _fan_in(kind, shape)), shape)
        else:
            values = generator.normal(0, 0.1, shape)
        found[key] = values
    return found


def _fan_in(kind: str, shape: tuple[int, ...]) -> int:
    if kind == "depthwise_conv":
        return max(1, shape[0] * shape[1])
    if kind == "transposed_conv":
        return max(1, shape[0] * shape[1] * shape[3] // 4)
    return max(1, math.prod(shape[:-1]))
