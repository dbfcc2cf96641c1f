"""Another library's tensors back to timm's names: a renaming read from right to left."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from porter.outputs.renaming.renaming import Rename, rename
from porter.outputs.renaming.target_table import TargetTable

Values = NDArray[np.float64]


class Restoring(NamedTuple):
    """The way back from a target's names to timm's.

    Attributes:
        renamed: timm's name to the target's.
        variances: timm's names of the moving variances.
        shift: What the target's variances have more than timm's, because its classes fix another epsilon.
    """

    renamed: Mapping[str, Rename]
    variances: Collection[str]
    shift: float

    @property
    def timm_names(self) -> dict[str, str]:
        """The target's names, each with timm's."""
        return {name: timm for timm, rule in self.renamed.items() for name in rule.names}

    def restore(self, timm: str, tensors: Mapping[str, Values]) -> Values:
        """Return timm's tensor, made of the target's.

        Args:
            timm: Its name.
            tensors: The target's tensors by name, in the shapes that the target has.
        """
        rule = self.renamed[timm]
        parts = [tensors[name] for name in rule.names]
        joined = np.concatenate(parts) if len(parts) > 1 else parts[0]
        values = joined if rule.layout is None else rule.layout.inverse.apply(joined)
        return values - self.shift if timm in self.variances and self.shift else values


def restoring(
    table: TargetTable, names: Collection[str], variances: Collection[str], bn_eps: float | None
) -> Restoring:
    """Return the way back.

    Args:
        table: The renaming.
        names: timm's names of all tensors.
        variances: Those that are moving variances.
        bn_eps: timm's batch normalisation epsilon.

    Raises:
        PlanError: the table and the names do not close.
    """
    shift = 0.0 if bn_eps is None or table.bn_eps is None else bn_eps - table.bn_eps
    return Restoring(rename(table.names, names), variances, shift)
