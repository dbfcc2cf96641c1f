"""SimCLR's ResNets, layer by layer as resnet.py of google-research/simclr builds them, under their own names.

The original makes layers of TensorFlow 1 without names, so that they are counted over the whole network in
the order in which they are made: a block's shortcut comes before its three convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras

from porter.runners.builders import BuilderSet, Keras
from porter.tables.expansion import LayerNames

_EXPANSION = 4  # of a bottleneck's last convolution
_WIDTH = 64


class _ResNet(tf_keras.Model):  # type: ignore[misc]  # tf_keras has no types
    """Bottlenecks that halve the size in the 3x3 convolution; what strides is padded by its kernel alone."""

    def __init__(self, arguments: Mapping[str, Any], *, classes: int, channels: int, bn_eps: float) -> None:
        super().__init__()
        self.base_model = tf.Module()
        self.head_contrastive = tf.Module()  # serves the contrastive loss alone
        self._names = LayerNames()
        self._bn_eps = bn_eps
        width = _WIDTH * arguments["width"]
        self._stem = self._normalised(width, 7, 2)
        self._results = self._result("result_stem"), self._result("result_pool")
        places = [(group, place) for group, count in enumerate(arguments["blocks"]) for place in range(count)]
        self._blocks = [
            self._bottleneck(number, width * 2**group, 2 if group and not place else 1, is_first=not place)
            for number, (group, place) in enumerate(places)
        ]
        self.head_supervised = tf.Module()
        if classes:
            self.head_supervised.linear_layer = tf.Module()
            self.head_supervised.linear_layer.dense = tf_keras.layers.Dense(classes)
        self(tf.zeros((1, 32, 32, channels), tf_keras.backend.floatx()))

    def _counted(self, kind: str, layer: Keras) -> Keras:
        setattr(self.base_model, self._names.named(f"{kind}{{+}}"), layer)
        return layer

    def _normalised(self, filters: int, kernel: int, stride: int) -> tuple[Keras, Keras, int]:
        padding = "same" if stride == 1 else "valid"
        conv = tf_keras.layers.Conv2D(filters, kernel, stride, padding=padding, use_bias=False)
        norm = tf_keras.layers.BatchNormalization(epsilon=self._bn_eps)
        around = 0 if stride == 1 else (kernel - 1) // 2
        return self._counted("conv2d", conv), self._counted("batch_normalization", norm), around

    def _bottleneck(self, number: int, filters: int, stride: int, *, is_first: bool) -> tuple[Any, ...]:
        out = filters * _EXPANSION
        shortcut = self._normalised(out, 1, stride) if is_first else None
        inner = [self._normalised(filters, 1, 1), self._normalised(filters, 3, stride)]
        result = self._result(f"block_{number}")
        return shortcut, inner, self._normalised(out, 1, 1), result

    def _result(self, name: str) -> Keras:
        """Return a layer that passes on what it takes, for the check to look at."""
        layer = tf_keras.layers.Activation("linear")
        setattr(self, name, layer)
        return layer

    def call(self, x: Any) -> Any:
        """Return the logits of images (N, H, W, C), or the pooled features if there are no classes."""
        stem, pool = self._results
        x = stem(tf.nn.relu(_run(self._stem, x)))
        x = pool(tf.nn.max_pool2d(x, 3, 2, "SAME"))
        for shortcut, inner, last, result in self._blocks:
            taken = x if shortcut is None else _run(shortcut, x)
            for each in inner:
                x = tf.nn.relu(_run(each, x))
            x = result(tf.nn.relu(_run(last, x) + taken))
        x = tf.reduce_mean(x, axis=(1, 2))
        head = getattr(self.head_supervised, "linear_layer", None)
        return x if head is None else head.dense(x)


def _run(layers: tuple[Keras, Keras, int], x: Any) -> Any:
    conv, norm, around = layers
    padded = tf.pad(x, [[0, 0], [around, around], [around, around], [0, 0]]) if around else x
    return norm(conv(padded), training=False)


def _network(arguments: Mapping[str, Any], **lengths: Any) -> Keras:
    return _ResNet(arguments, **lengths)


SOURCE = BuilderSet(builders={"resnet": _network}, packages=("tensorflow", "tf-keras", "numpy"))
