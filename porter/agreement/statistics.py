"""What many rows say together; two of these make one, so that rows may be counted anywhere."""

from __future__ import annotations

import heapq
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from porter.parity.image_row import ROUNDING, ImageRow

STEPS = ("decode", "resize", "network")
MEASURES = ("difference", *STEPS, "divergence")
QUANTILES = (0.5, 0.9, 0.99, 1.0)
_KEPT = 24


@dataclass(slots=True)
class Statistics:
    """Counts and values of rows.

    Attributes:
        images: Rows, with those that could not be used.
        counts: How many rows agree, are right and so on, by name.
        causes: How many rows differ by more than rounding, by the step that makes most of it.
        values: Every value of each measure, eight bytes each: quantiles are exact.
        flips: Rows whose first classes differ, those with the largest difference.
        unusable: The first rows that could not be used.
    """

    images: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    values: dict[str, array[float]] = field(default_factory=lambda: {name: array("d") for name in MEASURES})
    flips: list[tuple[float, int, ImageRow]] = field(default_factory=list)
    unusable: list[ImageRow] = field(default_factory=list)

    def add(self, row: ImageRow, label: int | None) -> None:
        """Count a row.

        Args:
            row: The row.
            label: Number of its class as the network counts, or None.
        """
        self.images += 1
        if row.fault:
            self.counts["unusable"] += 1
            self.unusable = [*self.unusable, row][:_KEPT]
            return
        for name in MEASURES:
            self.values[name].append(getattr(row, name))
        self.counts["compared"] += 1
        self.counts["same_first"] += row.agrees
        self.counts["first_in_best"] += row.source_best[0] in row.ported_best
        self.counts["same_best"] += set(row.source_best) == set(row.ported_best)
        self.counts["turned"] += row.turned
        if row.difference > ROUNDING:
            self.causes[row.cause] += 1
        if label is not None:
            self._count_label(row, label)
        if not row.agrees:
            self._keep_flip((row.difference, -row.index, row))

    def _count_label(self, row: ImageRow, label: int) -> None:
        self.counts["labelled"] += 1
        for side, best in (("source", row.source_best), ("ported", row.ported_best)):
            self.counts[f"{side}_right"] += best[0] == label
            self.counts[f"{side}_right_in_best"] += label in best

    def _keep_flip(self, flip: tuple[float, int, ImageRow]) -> None:
        if len(self.flips) < _KEPT:
            heapq.heappush(self.flips, flip)
        else:
            heapq.heappushpop(self.flips, flip)

    def merge(self, other: Statistics) -> None:
        """Take over what another has counted, of rows that come behind these."""
        self.images += other.images
        self.counts.update(other.counts)
        self.causes.update(other.causes)
        for name, values in other.values.items():
            self.values[name].extend(values)
        for flip in other.flips:
            self._keep_flip(flip)
        self.unusable = [*self.unusable, *other.unusable][:_KEPT]

    def quantiles(self, measure: str) -> Mapping[float, float]:
        """Return the quantiles of a measure; nothing of no row."""
        values = np.frombuffer(self.values[measure], np.float64) if self.values[measure] else np.empty(0)
        if not len(values):
            return {}
        return {q: float(np.quantile(values, q, method="inverted_cdf")) for q in QUANTILES}

    def mean(self, measure: str) -> float:
        """Return the mean of a measure, 0 of no row."""
        values = self.values[measure]
        return float(np.mean(np.frombuffer(values, np.float64))) if values else 0.0

    @property
    def cause(self) -> str | None:
        """The step that makes most of the difference; None if there is no more than rounding."""
        if not self.causes:
            return None
        return max(reversed(STEPS), key=self.mean)

    @property
    def largest_flips(self) -> list[ImageRow]:
        """The flips that are kept, the one with the largest difference first."""
        return [row for _, _, row in sorted(self.flips, key=lambda flip: flip[:2], reverse=True)]
