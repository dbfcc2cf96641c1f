"""A checkpoint without a file: the random weights of a variant, served like stored ones."""

from __future__ import annotations

from pathlib import Path

from porter.core.checkpoint import Array, Checkpoint, TensorSpec, contiguous
from porter.core.dtypes import BY_NAME
from porter.core.object_graph import ObjectGraph
from porter.recordings.random_weights import entry_value
from porter.tables.variants import Entry, Variant


class RandomCheckpoint(Checkpoint):
    """The random weights that follow from a seed, under the object paths of the classification model.

    Args:
        variant: The network; lengths that a checkpoint would decide take their defaults.
        seed: Any integer.
    """

    def __init__(self, variant: Variant, seed: int) -> None:
        self.path = Path(f"random weights of {variant.name}, seed {seed}")
        self.format = f"random weights, seed {seed}"
        self.files = ()
        self._variant = variant
        self._seed = seed
        self._entries: dict[str, Entry] = {variant.full_source(entry): entry for entry in variant.entries}
        self.specs = {path: self._spec(entry) for path, entry in sorted(self._entries.items())}
        self.graph = ObjectGraph.from_names(self.specs)
        self._last: tuple[str, Array] | None = None

    def _spec(self, entry: Entry) -> TensorSpec:
        free = self._variant.free
        shape = tuple(free[dim].default if isinstance(dim, str) else dim for dim in entry.source_shape)
        return TensorSpec(BY_NAME["float32"], shape)

    def read(self, key: str) -> Array:
        """Return the variable's value, float32, in TensorFlow's shape."""
        if self._last is None or self._last[0] != key:
            value = contiguous(entry_value(self._variant, self._entries[key], self._seed))
            self._last = (key, value)
        return self._last[1]

    def verify(self, key: str) -> None:
        """Do nothing: there are no stored bytes that could be damaged."""

    def read_block(self, key: str, block: tuple[slice, ...]) -> Array:
        """Return a part of the variable's value."""
        return self.read(key)[block]

    def close(self) -> None:
        """Do nothing: no file is open."""
