"""The values of one stage: all of them, or a sample with exact statistics of the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from porter.core.checkpoint import Array
from porter.errors import ParityError
from porter.recordings.fixed_point import decode, encode
from porter.recordings.sampling import SampleRule

ImageLayout = Literal["NCHW", "NHWC"]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Summary of all elements of an activation, accumulated in float64, in the activation's own units.

    Every one of them moves by at most max|a - b| when the activation moves from b to a, so the
    tolerance of an element is also a tolerance for them.
    """

    mean: float
    std: float
    minimum: float
    maximum: float
    absolute_mean: float

    @property
    def largest(self) -> float:
        """Largest absolute value of any element."""
        return max(abs(self.minimum), abs(self.maximum))

    @classmethod
    def of(cls, values: Array) -> Statistics:
        """Compute them for `values` (any shape, at least one element, finite)."""
        flat = np.asarray(values, dtype=np.float64).ravel()
        return cls(
            float(flat.mean()),
            float(flat.std()),
            float(flat.min()),
            float(flat.max()),
            float(np.abs(flat).mean()),
        )


@dataclass(frozen=True, slots=True)
class Activation:
    """The values at one stage: all of them, or a sample with exact statistics of the rest.

    Attributes:
        values: The full array with shape `shape`; for a sample the sampled elements, 1-D.
        shape: Full shape in `layout`, e.g. (N, H, W, C).
        layout: What the axes of a 4-D activation are. Fewer axes mean the same in every framework.
        rule: None for a full activation; else how the sampled elements were chosen.
        statistics: None for a full activation; else the statistics of all elements.
    """

    values: Array
    shape: tuple[int, ...]
    layout: ImageLayout
    rule: SampleRule | None = None
    statistics: Statistics | None = None

    @classmethod
    def full(cls, values: Array, layout: ImageLayout) -> Activation:
        """Wrap a complete array."""
        return cls(values, tuple(values.shape), layout)

    @property
    def is_sample(self) -> bool:
        """Whether only some elements are known."""
        return self.rule is not None

    def positions(self) -> Array:
        """Flat positions of a sample's `values` in channels-first order of the full array, ascending."""
        if self.rule is None:
            raise ParityError("recording/full", "a full activation has no sample positions")
        return self.rule.positions(self.canonical_shape)

    def sampled(self, rule: SampleRule) -> Activation:
        """Return a sample of a full activation, its values as a file can hold them.

        Raises:
            ParityError: it is a sample already, or holds a NaN or an infinity.
        """
        everything = self.channels_first().reshape(-1)
        if not np.isfinite(everything).all():
            raise ParityError("recording/not-finite", "an activation that is not finite cannot be sampled")
        statistics = Statistics.of(everything)
        values = everything[rule.positions(self.canonical_shape)]
        largest = statistics.largest
        kept = decode(encode(values.astype(np.float64), largest), largest)
        return Activation(kept, self.shape, self.layout, rule, statistics)

    @property
    def canonical_shape(self) -> tuple[int, ...]:
        """The full shape in channels-first order."""
        if len(self.shape) != 4 or self.layout == "NCHW":
            return self.shape
        n, h, w, c = self.shape
        return (n, c, h, w)

    def channels_first(self) -> Array:
        """The full array as NCHW where it has four axes (a view); unchanged otherwise.

        Raises:
            ParityError: only a sample is known.
        """
        if self.is_sample:
            raise ParityError("recording/sample", "a sampled activation has no full array")
        if self.values.ndim == 4 and self.layout == "NHWC":
            return self.values.transpose(0, 3, 1, 2)
        return self.values
