"""The weights of random-weight recordings, made again from the seed and the table alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from porter.random_weights import entry_value
from porter.tables import Entry, Variant
from porter.tensors import Array


class SeededWeights(Mapping[str, Array]):
    """Every tensor of the PyTorch state dict by name, each made when it is first asked for.

    Args:
        variant: The network.
        seed: The seed that the recordings state.
    """

    def __init__(self, variant: Variant, seed: int) -> None:
        self._variant = variant
        self._seed = seed
        self._entries: dict[str, Entry] = {entry.target: entry for entry in variant.entries}
        self._made: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        """Return one tensor in PyTorch's layout, float32."""
        if name not in self._made:
            entry = self._entries[name]
            self._made[name] = np.ascontiguousarray(
                entry.layout.apply(entry_value(self._variant, entry, self._seed))
            )
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        """Yield the names in the table's order, which is the network's."""
        return iter(self._entries)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self._entries)
