"""Norms that know what they take, as training leaves them.

With random ones rounding grows from layer to layer as it does in no trained network.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def measure_norms(model: Any, shape: tuple[int, ...]) -> None:
    """Give every batch norm of a Keras model the mean and variance of what it takes of random images.

    Args:
        model: Of tf_keras or of Keras 3 on TensorFlow.
        shape: Height, width and channels of the images.
    """
    layers = list(model._flatten_layers(include_self=False, recursive=True))  # noqa: SLF001 (both Kerases)
    norms = [layer for layer in layers if hasattr(layer, "moving_variance")]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    count = max(4, 200_000 // (shape[0] * shape[1]))  # 200 elements of each channel in the last maps
    images = np.random.default_rng(0).normal(0, 1, (count, *shape))
    for layer in reversed(layers):
        images = _unprepared(layer, images)
    model(images.astype(np.float32), training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _unprepared(layer: Any, images: Any) -> Any:
    """Return what a layer that prepares images makes `images` of; other layers change nothing."""
    kind = type(layer).__name__
    if kind == "Rescaling":
        return (images - np.asarray(layer.offset)) / np.asarray(layer.scale)
    if kind == "Normalization":
        layer.finalize_state()  # its variables may have been given new values
        mean, variance = (np.asarray(values) for values in (layer.mean, layer.variance))
        return images * np.sqrt(variance) + mean
    return images
