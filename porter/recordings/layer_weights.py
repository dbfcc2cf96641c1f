"""Random weights of a network whose layers are known by their kinds, for a match."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from porter.core.checkpoint import Array

_RANGES = {"variance": (0.6, 1.4), "moving_variance": (0.6, 1.4), "gamma": (0.4, 0.9)}
# A few channels are large enough for what an activation caps to be reached; were all, signals would grow.
_LARGE_GAMMA, _ONE_IN = (3.0, 6.0), 12


def random_weights(
    shapes: Mapping[str, tuple[int, ...]], roles: Mapping[str, tuple[str, str]], seed: int
) -> dict[str, Array]:
    """Return float32 values by key, as sources store them, with which signals neither fade nor grow.

    Args:
        shapes: Shape of each variable in TensorFlow's layout, by key.
        roles: Kind of the layer and what the variable is in it, by key.
        seed: Of the generator.
    """
    generator = np.random.default_rng(seed)
    gain = 1.0 if any(role == "gamma" for _, role in roles.values()) else 1.8
    found = {}
    for key, shape in sorted(shapes.items()):
        kind, role = roles.get(key, ("", ""))
        if role in _RANGES:
            values = generator.uniform(*_RANGES[role], shape)
            if role == "gamma":
                chosen = generator.permutation(values.size)[: 1 + values.size // _ONE_IN]
                values[chosen] = generator.uniform(*_LARGE_GAMMA, len(chosen))
        elif role == "kernel" or len(shape) > 1:
            values = _normal(generator, math.sqrt(gain / _fan_in(kind, shape)), shape)
        else:
            values = _normal(generator, 0.1, shape)
        found[key] = values.astype(np.float32, copy=False)
    return found


def _normal(generator: np.random.Generator, scale: float, shape: tuple[int, ...]) -> Array:
    values = generator.standard_normal(shape, np.float32)
    values *= np.float32(scale)
    return values


def _fan_in(kind: str, shape: tuple[int, ...]) -> int:
    if kind == "depthwise_conv":
        return max(1, shape[0] * shape[1])
    if kind == "transposed_conv":
        return max(1, shape[0] * shape[1] * shape[3] // 4)
    return max(1, math.prod(shape[:-1]))
