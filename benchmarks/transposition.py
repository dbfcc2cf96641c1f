"""Speed of `copy_rearranged` against `np.copyto`, in GB/s, best of five, on the shapes that decide.

Usage: python benchmarks/transposition.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from porter.core.checkpoint import Array
from porter.transfer.transposition import copy_rearranged

# (what it is, shape in the checkpoint, axes in target order)
CASES = (
    ("dense kernel, 1280 x 3000", (1280, 3000), (1, 0)),
    ("dense kernel, strides of a power of two", (1024, 4096), (1, 0)),
    ("1x1 convolution", (1, 1, 960, 1280), (3, 2, 0, 1)),
    ("3x3 convolution", (3, 3, 512, 512), (3, 2, 0, 1)),
    ("5x5 convolution", (5, 5, 256, 256), (3, 2, 0, 1)),
    ("depthwise convolution", (5, 5, 2048, 1), (2, 3, 0, 1)),
)


def speed(copy: Callable[[Array, Array], None], source: Array, target: Array) -> float:
    """Return the gigabytes that are copied per second."""
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        copy(source, target)
        best = min(best, time.perf_counter() - started)
    return source.nbytes / best / 1e9


def main() -> None:
    """Measure and print."""
    rng = np.random.default_rng(0)
    print(f"{'GB/s':42} np.copyto  tiles")
    for name, shape, axes in CASES:
        source = rng.random(shape, np.float32).transpose(axes)
        target = np.empty(source.shape, np.float32)
        plain = speed(lambda one, other: np.copyto(other, one), source, target)
        tiles = speed(copy_rearranged, source, target)
        assert np.array_equal(source, target)
        print(f"{name:42} {plain:9.2f} {tiles:6.2f}")


if __name__ == "__main__":
    main()
