"""Keras's Normalization layer in front of a network, as the mean and std that a picture's transform takes."""

from __future__ import annotations

import numpy as np

from porter.object_graph import ObjectGraph
from porter.planning.recognition import Match
from porter.tables.variants import InputSpec
from porter.tensors import Checkpoint

# keras.applications.efficientnet divides by sqrt(variance), and its published weights store ImageNet's std as
# the variance. Built with them, the network has a second layer, without variables, that divides by
# sqrt(std) once more: by the std in all (keras-team/keras, efficientnet.py, IMAGENET_STDDEV_RGB).
_IMAGENET_STD = (0.229, 0.224, 0.225)
_CLOSE = 1e-6


def stored_pictures(checkpoint: Checkpoint, match: Match) -> tuple[InputSpec, tuple[str, ...]]:
    """Return the pictures that a network expects, and notes: mean and std as the checkpoint stores them.

    They are the table's where the network has no such layer or the checkpoint no values for it.
    """
    variant = match.variant
    layer = variant.input.normalization
    node = match.graph.resolve(layer, match.nodes[variant.parts[0].name]) if layer else None
    if node is None:
        return variant.input, ()
    mean, variance = (_values(checkpoint, match.graph, name, node) for name in ("mean", "variance"))
    if not mean or not variance:
        return variant.input, ()
    note = "mean and std are those of the network's Normalization layer"
    if len(variance) == len(_IMAGENET_STD) and np.allclose(variance, _IMAGENET_STD, rtol=0, atol=_CLOSE):
        why = "its variance is ImageNet's std: networks that Keras publishes divide by its root twice"
        return variant.input._replace(mean=mean, std=variance), (f"{note}; {why}",)
    std = tuple(float(value) for value in np.sqrt(variance))
    return variant.input._replace(mean=mean, std=std), (note,)


def _values(checkpoint: Checkpoint, graph: ObjectGraph, name: str, node: int) -> tuple[float, ...]:
    child = graph.resolve(name, node)
    key = None if child is None else graph.nodes[child].key
    if key is None:
        return ()
    # The shortest decimals of the stored float32: 0.485, not 0.48500001430511475.
    return tuple(float(str(value)) for value in checkpoint.read(key).astype(np.float32).ravel())
