"""EfficientNet of tensorflow/tpu and google/automl, from the published architecture, under their own names.

The objects of these networks are called as the original code calls its variables, for example
``blocks_3/depthwise_conv2d/depthwise_kernel``: a table of the published names is one of object paths.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras

from porter.runners.builders import BuilderSet, Keras

_FIELD = re.compile(r"([rksecf])(\d+)")


class _Unit(tf_keras.layers.Layer):  # type: ignore[misc]  # tf_keras has no types
    """Layers under given names: convolutions, each with a norm, called as Keras numbers them in one scope."""

    def __init__(self, activation: str, bn_eps: float) -> None:
        super().__init__()
        self._activation_name = activation
        self._activation = getattr(tf.nn, activation)
        self._bn_eps = bn_eps
        self._counts: dict[str, int] = {}

    def _named(self, name: str, layer: Keras) -> Keras:
        number = self._counts.get(name, 0)
        self._counts[name] = number + 1
        setattr(self, f"{name}_{number}" if number else name, layer)
        return layer

    def _conv(self, channels: int, kernel: int = 1, stride: int = 1) -> tuple[Keras, Keras]:
        conv = tf_keras.layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False)
        return self._named("conv2d", conv), self._norm()

    def _depthwise(self, kernel: int, stride: int) -> tuple[Keras, Keras]:
        conv = tf_keras.layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False)
        return self._named("depthwise_conv2d", conv), self._norm()

    def _norm(self) -> Keras:
        norm = tf_keras.layers.BatchNormalization(epsilon=self._bn_eps)
        return self._named("tpu_batch_normalization", norm)


class _Stem(_Unit):
    def __init__(self, channels: int, activation: str, bn_eps: float) -> None:
        super().__init__(activation, bn_eps)
        self._layers_in_order = self._conv(channels, 3, 2)

    def call(self, x: Any) -> Any:
        """Apply it to (N, H, W, C)."""
        conv, norm = self._layers_in_order
        return self._activation(norm(conv(x), training=False))


class _SqueezeExcite(_Unit):
    def __init__(self, channels: int, squeezed: int, activation: str) -> None:
        super().__init__(activation, bn_eps=0.0)
        self._reduce = self._named("conv2d", tf_keras.layers.Conv2D(squeezed, 1))
        self._expand = self._named("conv2d", tf_keras.layers.Conv2D(channels, 1))

    def call(self, x: Any) -> Any:
        """Apply it to (N, H, W, C)."""
        mean = tf.reduce_mean(x, axis=(1, 2), keepdims=True)
        return x * tf.sigmoid(self._expand(self._activation(self._reduce(mean))))


class _Block(_Unit):
    """A block in timm's notation, without its ``c1`` and the like.

    ``er`` expands with the whole kernel, ``cn`` is one convolution, the others expand with 1x1 and have a
    depthwise one. ``f24`` says that 24 channels are expanded, whatever the input has; ``se`` squeezes to a
    quarter of the input.
    """

    def __init__(self, text: str, channels: int, activation: str, bn_eps: float, *, first: bool) -> None:
        super().__init__(activation, bn_eps)
        field = {key: int(value) for key, value in _FIELD.findall(text)}
        stride = field["s"] if first else 1
        middle = field.get("f", channels) * field.get("e", 1)
        self._pairs, self._gate, self._projection = [], None, None
        if text.startswith("cn"):
            self._pairs.append(self._conv(field["c"], field["k"], stride))
        elif text.startswith("er"):
            self._pairs.append(self._conv(middle, field["k"], stride))
        else:
            if field["e"] > 1:
                self._pairs.append(self._conv(middle))
            self._pairs.append(self._depthwise(field["k"], stride))
            if text.endswith("_se"):
                self._gate = self.se = _SqueezeExcite(middle, max(1, channels // 4), self._activation_name)
        if not text.startswith("cn"):
            self._projection = self._conv(field["c"])
        self._skip = stride == 1 and channels == field["c"] and "noskip" not in text

    def call(self, x: Any) -> Any:
        inner = x
        for conv, norm in self._pairs:
            inner = self._activation(norm(conv(inner), training=False))
        if self._gate is not None:
            inner = self._gate(inner)
        if self._projection is not None:
            conv, norm = self._projection
            inner = norm(conv(inner), training=False)
        return x + inner if self._skip else inner


class _Head(_Unit):
    def __init__(self, channels: int, classes: int, activation: str, bn_eps: float) -> None:
        super().__init__(activation, bn_eps)
        self._layers_in_order = self._conv(channels)
        self.features = tf_keras.layers.Activation(self._activation)
        if classes:
            self.dense = tf_keras.layers.Dense(classes)

    def call(self, x: Any) -> Any:
        conv, norm = self._layers_in_order
        x = tf.reduce_mean(self.features(norm(conv(x), training=False)), axis=(1, 2))
        return self.dense(x) if hasattr(self, "dense") else x


class _Network(tf_keras.Model):  # type: ignore[misc]  # tf_keras has no types
    def __init__(self, arguments: Mapping[str, Any], *, classes: int, channels: int, bn_eps: float) -> None:
        super().__init__()
        activation = arguments["activation"]
        self.stem = _Stem(arguments["stem"], activation, bn_eps)
        self._chain: list[_Block] = []
        width = arguments["stem"]
        for text in arguments["blocks"]:
            for repeat in range(int(dict(_FIELD.findall(text))["r"])):
                block = _Block(text, width, activation, bn_eps, first=repeat == 0)
                setattr(self, f"blocks_{len(self._chain)}", block)
                self._chain.append(block)
                width = int(dict(_FIELD.findall(text))["c"])
        self.head = _Head(arguments["head"], classes, activation, bn_eps)
        self(tf.zeros((1, 32, 32, channels), tf_keras.backend.floatx()))

    def call(self, x: Any) -> Any:
        x = self.stem(x)
        for block in self._chain:
            x = block(x)
        return self.head(x)


def _efficientnet(arguments: Mapping[str, Any], **lengths: Any) -> Keras:
    return _Network(arguments, **lengths)


SOURCE = BuilderSet(builders={"efficientnet": _efficientnet}, packages=("tensorflow", "tf-keras", "numpy"))
