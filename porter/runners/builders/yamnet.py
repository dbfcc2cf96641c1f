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
    x = _activated(_conv("layer1/conv", 32, 3, 2)(spectrograms), "layer1/conv", "layer1", bn_eps)
    for number, (filters, stride) in enumerate(_LAYERS, 2):
        name = f"layer{number}/depthwise_conv"
        depthwise = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=name)
        x = _activated(depthwise(x), name, name, bn_eps)
        name = f"layer{number}/pointwise_conv"
        x = _activated(_conv(name, filters, 1, 1)(x), name, name, bn_eps)
    x = layers.GlobalAveragePooling2D()(x)
    return tf_keras.Model(spectrograms, layers.Dense(classes)(x) if classes else x)


def _conv(name: str, filters: int, kernel: int, stride: int) -> Keras:
    return layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=name)


def _activated(x: Any, name: str, scope: str, bn_eps: float) -> Any:
    norm = layers.BatchNormalization(name=f"{name}/bn", scale=False, epsilon=bn_eps)
    return layers.ReLU(name=f"{scope}/relu")(norm(x))


SOURCE = BuilderSet(builders={"network": _network}, packages=("tensorflow", "tf-keras", "numpy"))
