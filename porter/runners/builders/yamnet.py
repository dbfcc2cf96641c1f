"""YAMNet behind its spectrogram, layer by layer as research/audioset/yamnet of the Model Garden builds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tf_keras
from tf_keras import layers

from porter.runners.builders import BuilderSet, Keras

# yamnet.py, _YAMNET_LAYER_DEFS: filters and stride of each depthwise separable layer.
_LAYERS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


def _network(
    arguments: Mapping[str, Any],  # noqa: ARG001  (every builder takes them; there is one YAMNet)
    *,
    classes: int,
    channels: int,
    bn_eps: float,
) -> Keras:
    """Build MobileNetV1 with ReLU, whose norms have no gamma."""
    spectrograms = tf_keras.Input((None, None, channels))
    x = _activated(_conv(32, 3, 2)(spectrograms), bn_eps)
    for filters, stride in _LAYERS:
        x = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False)(x)
        x = _conv(filters, 1, 1)(_activated(x, bn_eps))
        x = _activated(x, bn_eps)
    x = layers.GlobalAveragePooling2D()(x)
    return tf_keras.Model(spectrograms, layers.Dense(classes)(x) if classes else x)


def _conv(filters: int, kernel: int, stride: int) -> Keras:
    return layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False)


def _activated(x: Any, bn_eps: float) -> Any:
    return layers.ReLU()(layers.BatchNormalization(scale=False, epsilon=bn_eps)(x))


SOURCE = BuilderSet(builders={"network": _network}, packages=("tensorflow", "tf-keras", "numpy"))
