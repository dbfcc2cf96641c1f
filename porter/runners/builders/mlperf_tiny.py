"""Networks of MLPerf Tiny, layer by layer as its training scripts build them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tf_keras
from tf_keras import layers

from porter.runners.builders import BuilderSet, Keras

# benchmark/training/visual_wake_words/vww_model.py: filters and stride of each depthwise separable block.
_BLOCKS = ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1))
_STRIDE = 32


def _visual_wake_words(
    arguments: Mapping[str, Any],  # noqa: ARG001  (every builder takes them; this network has none)
    *,
    classes: int,
    channels: int,
    bn_eps: float,
    size: tuple[int, int],
) -> Keras:
    """Build MobileNetV1 of a quarter's width, with a bias in every convolution and ReLU."""
    inputs = tf_keras.Input((*size, channels))
    x = _activated(layers.Conv2D(8, 3, 2, padding="same")(inputs), bn_eps)
    for filters, stride in _BLOCKS:
        x = _activated(layers.DepthwiseConv2D(3, stride, padding="same")(x), bn_eps)
        x = _activated(layers.Conv2D(filters, 1, padding="same")(x), bn_eps)
    x = layers.AveragePooling2D([-(-length // _STRIDE) for length in size])(x)
    x = layers.Flatten()(x)
    return tf_keras.Model(inputs, layers.Dense(classes)(x) if classes else x)


def _activated(x: Any, bn_eps: float) -> Any:
    return layers.Activation("relu")(layers.BatchNormalization(epsilon=bn_eps)(x))


SOURCE = BuilderSet(
    builders={"visual_wake_words": _visual_wake_words},
    packages=("tensorflow", "tf-keras", "numpy"),
    fixed_size=True,
)
