"""How far a source whose norms are part of its convolutions computes what a table's network does."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from porter.core.folded_checkpoint import FoldedCheckpoint
from porter.core.stored_network import Operation, StoredNetwork
from porter.planning.fitting import shape_fits
from porter.planning.network.common_part import Pairs, common_part
from porter.planning.network.folded_form import folding
from porter.planning.network.folded_variables import alike, filled_roles, seen_shape, shared_keys, untaken
from porter.tables.variants import Entry


class FoldedPart:
    """The operations of a table's network that a source has, from the image on.

    Args:
        checkpoint: The source.
        source: What it computes, in its canonical form.
        reference: The table's network, in whose numbers `pairs` are.
        entries: What the table knows of each variable, by its path.

    Attributes:
        pairs: The source's operations for each that it has; a norm is where the layer is that took it in.
        keys: The source's key of each path that is there.
        filled: The role of each path that the source has no values for.
        lengths: Lengths that the source decides.
    """

    def __init__(
        self,
        checkpoint: FoldedCheckpoint,
        source: StoredNetwork,
        reference: StoredNetwork,
        entries: Mapping[str, Entry],
    ) -> None:
        self._checkpoint, self._entries = checkpoint, entries
        self.lengths: dict[str, int] = {}
        known, numbers = folding(reference, like=source)
        paired = common_part(source, known, self._fits)
        layers = [
            (known.operations[wanted].variables, source.operations[found[0]].variables)
            for wanted, found in paired.items()
        ]
        self.pairs: Pairs = {n: paired[number] for n, number in enumerate(numbers) if number in paired}
        self.keys = dict(pair for layer in layers for pair in shared_keys(*layer))
        self.filled = dict(pair for layer in layers for pair in filled_roles(*layer))

    def _fits(self, wanted: Operation, given: Operation) -> bool:
        """Whether a layer's variables are there in the shapes of the table, and no bias would be lost."""
        layer = wanted.variables, given.variables
        if not alike(*layer) or any(np.any(self._checkpoint.read(key)) for key in untaken(*layer)):
            return False
        return all(self._fits_shape(path, key) for path, key in shared_keys(*layer))

    def _fits_shape(self, path: str, key: str) -> bool:
        entry, spec = self._entries.get(path), self._checkpoint.specs.get(key)
        if entry is None or spec is None:
            return False
        return shape_fits(seen_shape(spec.shape, entry), entry.source_shape, self.lengths)
