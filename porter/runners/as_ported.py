"""What the options of a port change of TensorFlow's side, so that both sides answer the same question."""

from __future__ import annotations

import numpy as np

from porter.core.checkpoint import Array
from porter.planning.plan import Plan
from porter.tables.table_records import FreeLength

_CLASSES = "num_classes"
_LOGITS = "logits"


def stored_length(port_plan: Plan, free: FreeLength) -> int:
    """Return how long the stored weights are where the table leaves a length free."""
    length = int(str(port_plan.arguments.get(free.argument, free.default)))
    return length + (port_plan.classes == "drop-background" and free.argument == _CLASSES)


def source_order(port_plan: Plan, images: Array) -> Array:
    """Return images (N, H, W, C), given as the port takes them, in the order of channels of the source.

    The same turns the source's order into the port's.
    """
    turned = port_plan.channel_order != port_plan.variant.input.channel_order
    return np.ascontiguousarray(images[..., ::-1]) if turned else images


def kept_classes(port_plan: Plan, stage: str, activation: Array) -> Array:
    """Return what a stage gave (N, ..., C), without the classes that the port leaves out."""
    dropped = port_plan.classes == "drop-background" and stage == _LOGITS
    return activation[..., 1:] if dropped else activation
