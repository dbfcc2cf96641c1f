"""One target tensor and the stored variables it is made of: what a plan hands to the writer."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from porter.core.checkpoint import TensorSpec
from porter.core.layouts import Layout


class StoredPart(NamedTuple):
    """One stored variable on its way into a target tensor.

    Attributes:
        key: Checkpoint key whose bytes are read (the moving average's own key if one was chosen).
        path: Object path of the variable, for people.
        spec: Shape and dtype of the stored variable.
        layout: Axis order in the checkpoint to axis order in the target.
        scale: Every value is multiplied by it.
        selection: One slice per axis of the stored variable, with step 1 or -1: what is taken of it, and
            which axis is turned round. None takes everything as it is.
    """

    key: str
    path: str
    spec: TensorSpec
    layout: Layout
    scale: float = 1.0
    selection: tuple[slice, ...] | None = None

    @property
    def selected_shape(self) -> tuple[int, ...]:
        """Shape of what is taken of the stored variable, in its own axis order."""
        if self.selection is None:
            return self.spec.shape
        pairs = zip(self.selection, self.spec.shape, strict=True)
        return tuple(len(range(*taken.indices(length))) for taken, length in pairs)

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Shape of this part after the layout change."""
        return _target_shape(self.layout, self.selected_shape)


@lru_cache(maxsize=1024)
def _target_shape(layout: Layout, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Networks repeat a few shapes many times."""
    return layout.target_shape(shape)


class Assignment(NamedTuple):
    """Everything that goes into one target tensor: scale x part + offset - subtract.

    Attributes:
        target: Name in the PyTorch state dict.
        shape: Shape in the PyTorch state dict.
        parts: Stored variables, concatenated along axis 0 of the target. Empty for a constant.
        constant: The value of an int64 scalar that TensorFlow has no counterpart for, or None.
        offset: Added to every value; non-zero only if the two sides use a different BN epsilon.
        is_variance: True if a negative value is a fault.
        subtract: Stored variables, concatenated like `parts`, that are subtracted: the bias of a
            convolution in front of a batch normalisation goes into the moving mean.
        fill: The value of every element of a parameter that TensorFlow's layer does without, or None.
    """

    target: str
    shape: tuple[int, ...]
    parts: tuple[StoredPart, ...] = ()
    constant: int | None = None
    offset: float = 0.0
    is_variance: bool = False
    subtract: tuple[StoredPart, ...] = ()
    fill: float | None = None

    @property
    def sources(self) -> tuple[StoredPart, ...]:
        """Every stored variable that goes into the target."""
        return self.parts + self.subtract

    @property
    def is_computed(self) -> bool:
        """Whether values are computed, and not only moved: then they are rounded to the target's type."""
        is_scaled = any(part.scale != 1 for part in self.parts)
        return bool(self.offset or self.subtract) or is_scaled or self.fill not in (None, 0.0, 1.0)

    @property
    def size(self) -> int:
        """Number of elements of the target tensor."""
        return math.prod(self.shape)
