"""PyTorch's weights as arrays by name: from a seed and the table, or from a checkpoint and its plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from porter.assignments import Assignment, Part
from porter.dtypes import BY_NAME
from porter.float_conversion import convert
from porter.planning import Plan
from porter.random_weights import entry_value
from porter.tables import Entry, Variant
from porter.tensors import Array, Checkpoint


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


class PlannedWeights(Mapping[str, Array]):
    """Every floating-point tensor that a plan makes of a checkpoint, each read when it is first asked for.

    Args:
        checkpoint: The open source.
        made: Its plan.
    """

    def __init__(self, checkpoint: Checkpoint, made: Plan) -> None:
        self._checkpoint = checkpoint
        self._assignments = {each.target: each for each in made.assignments if each.parts}
        self._made: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        """Return one tensor in PyTorch's layout."""
        if name not in self._made:
            self._made[name] = self._read(self._assignments[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        """Yield the names in the table's order, which is the network's."""
        return iter(self._assignments)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self._assignments)

    def _read(self, assignment: Assignment) -> Array:
        parts = [self._part(part, assignment.offset) for part in assignment.parts]
        return np.concatenate(parts).reshape(assignment.shape)

    def _part(self, part: Part, offset: float) -> Array:
        words = self._checkpoint.read(part.key)
        dtype = part.spec.dtype
        wide = (
            words + offset
            if dtype.name == "float64"
            else convert(words, dtype, BY_NAME["float32"], offset=offset)
        )
        return np.atleast_1d(part.layout.apply(wide))
