"""What the options of a port change of TensorFlow's side, so that both sides answer the same question."""

from __future__ import annotations

import numpy as np

from porter.core.checkpoint import Array
from porter.planning.plan import Plan
from porter.tables.table_records import FreeLength

_CLASSES = "num_classes"
_LOGITS = "logits"


def stored_length(made: Plan, free: FreeLength) -> int:
    """Return how long the stored weights are where the table leaves a length free."""
    length = int(str(made.arguments.get(free.argument, free.default)))
    return length + (made.classes == "drop-background" and free.argument == _CLASSES)


def source_order(made: Plan, images: Array) -> Array:
    """Return images (N, H, W, C), given as the port takes them, in the order of channels of the source.

    The same turns the source's order into the port's.
    """
    turned = made.channel_order != made.variant.input.channel_order
    return np.ascontiguousarray(images[..., ::-1]) if turned else images


def kept_classes(made: Plan, stage: str, activation: Array) -> Array:
    """Return what a stage gave (N, ..., C), without the classes that the port leaves out."""
    dropped = made.classes == "drop-background" and stage == _LOGITS
    return activation[..., 1:] if dropped else activation
