"""A checkpoint whose tensors are arrays in memory and whose one file holds their bytes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from porter.core.assignments import Assignment, StoredPart
from porter.core.checkpoint import Array, Checkpoint, TensorSpec, contiguous
from porter.core.dtypes import BY_NAME
from porter.core.layouts import parse_layout
from porter.core.object_graph import ObjectGraph

# A child process imports the same porter as the tests, installed or not.
CHILD_ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}


class FileCheckpoint(Checkpoint):
    """Serves `arrays`; the dtype of each is given where it is not that of the array."""

    format = "arrays in memory"

    def __init__(self, folder: Path, arrays: Mapping[str, Array], dtypes: Mapping[str, str] | None = None):
        self.path = folder / "weights.bin"
        self.path.write_bytes(b"".join(a.tobytes() for a in arrays.values()))
        self.files = (self.path,)
        self.arrays = {key: contiguous(array) for key, array in arrays.items()}
        names = {key: a.dtype.name for key, a in arrays.items()}
        names.update(dtypes or {})
        self.specs = {key: TensorSpec(BY_NAME[names[key]], a.shape) for key, a in arrays.items()}
        self.graph = ObjectGraph.from_names(arrays)
        self.verified: list[str] = []

    def read(self, key: str) -> Array:
        """Return the whole tensor."""
        return self.arrays[key]

    def verify(self, key: str) -> None:
        """Remember that this was asked for."""
        self.verified.append(key)

    def read_block(self, key: str, block: tuple[slice, ...]) -> Array:
        """Return a part of a tensor that was verified before."""
        assert key in self.verified
        return self.arrays[key][block]

    def close(self) -> None:
        """Nothing to release."""

    def part(self, key: str, pattern: str) -> StoredPart:
        """Return `key` as a part of an assignment."""
        return StoredPart(key, key, self.specs[key], parse_layout(pattern))

    def assign(self, target: str, *parts: tuple[str, str], offset=0.0, is_variance=False) -> Assignment:
        """Return the assignment of (key, layout) pairs to one target."""
        made = tuple(self.part(key, pattern) for key, pattern in parts)
        first, *others = (part.target_shape for part in made)
        shape = (first[0] + sum(other[0] for other in others), *first[1:]) if others else first
        return Assignment(target, shape, made, offset=offset, is_variance=is_variance)


def words(seed: int, dtype: str, shape: tuple[int, ...]) -> Array:
    """Return an array of any bits that `dtype` can hold (NaNs and infinities too)."""
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    return np.frombuffer(rng.bytes(size), dtype).reshape(shape)
