"""PyTorch's weights as arrays by name: from a seed and the table, or from a checkpoint and its plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from porter.core.assignments import Assignment, StoredPart
from porter.core.checkpoint import Array, Checkpoint
from porter.core.dtypes import BY_NAME
from porter.planning.plan import Plan, plan
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.known_tables import Tables
from porter.tables.variants import Variant
from porter.transfer.float_conversion import convert


class PlannedWeights(Mapping[str, Array]):
    """Every floating-point tensor that a plan makes of a checkpoint, each read when it is first asked for.

    Args:
        checkpoint: The open source.
        port_plan: Its plan.
    """

    def __init__(self, checkpoint: Checkpoint, port_plan: Plan) -> None:
        self._checkpoint = checkpoint
        self._assignments = {each.target: each for each in port_plan.assignments if each.constant is None}
        self._plan: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        """Return one tensor in PyTorch's layout."""
        if name not in self._plan:
            self._plan[name] = self._read(self._assignments[name])
        return self._plan[name]

    def __iter__(self) -> Iterator[str]:
        """Yield the names in the table's order, which is the network's."""
        return iter(self._assignments)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self._assignments)

    def _read(self, assignment: Assignment) -> Array:
        if assignment.fill is not None:
            return np.full(assignment.shape, assignment.fill)
        values = self._joined(assignment.parts, assignment.offset)
        if assignment.subtract:
            values = values - self._joined(assignment.subtract, 0.0)
        return values.reshape(assignment.shape)

    def _joined(self, parts: tuple[StoredPart, ...], offset: float) -> Array:
        return np.concatenate([self._part(part, offset) for part in parts])

    def _part(self, part: StoredPart, offset: float) -> Array:
        words = self._checkpoint.read(part.key)
        taken = words if part.selection is None else words[part.selection]
        wide = BY_NAME["float64" if part.spec.dtype.name == "float64" else "float32"]
        values = convert(taken, part.spec.dtype, wide, scale=part.scale, offset=offset)
        return np.atleast_1d(np.ascontiguousarray(part.layout.apply(values)))


class SeededWeights(PlannedWeights):
    """The same for the random weights of a network.

    Args:
        variant: The network.
        seed: The seed that the recordings state.
    """

    def __init__(self, variant: Variant, seed: int) -> None:
        checkpoint = RandomCheckpoint(variant, seed)
        super().__init__(checkpoint, plan(checkpoint, Tables({variant.name: variant}), variant=variant.name))
