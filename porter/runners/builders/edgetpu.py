"""MobileNet-EdgeTPU of the Model Garden's edgetpu project, which no release of the Garden contains.

Written from the published architecture (tensorflow/models, official/projects/edgetpu/vision). Layers with
variables come in the published order, so that object paths are those of a checkpoint of the project. Dropout
and the identity in front of it, which do nothing in inference, are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from porter.runners.builders import BuilderSet, Keras

# Per stage of version 2: (kind, expansion, stride) of each block. A fused block expands with a 3x3
# convolution, a grouped one with a 3x3 convolution in groups, the others with 1x1 and a depthwise one.
_V2 = (
    (("project", 1, 1),),
    (("fused", 8, 2), ("grouped", 4, 1)),
    (("fused", 8, 2), ("grouped", 4, 1), ("fused", 4, 1), ("grouped", 4, 1)),
    (("fused", 8, 2), ("depthwise", 4, 1), ("depthwise", 4, 1), ("depthwise", 4, 1)),
    (("depthwise", 8, 1), ("depthwise", 4, 1), ("depthwise", 4, 1), ("depthwise", 4, 1)),
    (("depthwise", 8, 2), ("depthwise", 4, 1), ("depthwise", 4, 1), ("depthwise", 4, 1)),
    (("depthwise", 8, 1),),
)

# Of version 1: (kind, expansion, stride, kernel, filters, whether the input is added if shapes allow).
_V1 = (
    ("project", 1, 1, 1, 16, True),
    ("fused", 8, 2, 3, 32, True),
    *[("fused", 4, 1, 3, 32, True)] * 3,
    ("fused", 8, 2, 3, 48, True),
    *[("fused", 4, 1, 3, 48, True)] * 3,
    ("depthwise", 8, 2, 3, 96, True),
    *[("depthwise", 4, 1, 3, 96, True)] * 3,
    ("depthwise", 8, 1, 3, 96, False),
    *[("depthwise", 4, 1, 3, 96, True)] * 3,
    ("depthwise", 8, 2, 5, 160, True),
    *[("depthwise", 4, 1, 5, 160, True)] * 3,
    ("depthwise", 8, 1, 3, 192, True),
)


class GroupConv2D(tf_keras.layers.Layer):  # type: ignore[misc]
    """A 3x3 convolution in groups, each with a kernel and a batch normalisation of its own, then ReLU.

    Input (N, H, W, C), output (N, H', W', filters) with SAME padding.
    """

    def __init__(self, filters: int, groups: int, stride: int, epsilon: float) -> None:
        super().__init__()
        self._filters = filters
        self._groups = groups
        self._stride = stride
        self.batch_norm_layer = [tf_keras.layers.BatchNormalization(epsilon=epsilon) for _ in range(groups)]

    def build(self, shape: Sequence[int]) -> None:
        """Make a kernel (3, 3, C / groups, filters / groups) for each group."""
        kernel = (3, 3, shape[-1] // self._groups, self._filters // self._groups)
        self.kernel = [self.add_weight(name=f"kernel_{n}", shape=kernel) for n in range(self._groups)]

    def call(self, x: Any) -> Any:
        """Convolve each group of channels by itself."""
        parts = zip(tf.split(x, self._groups, axis=-1), self.kernel, self.batch_norm_layer, strict=True)
        outputs = [tf.nn.relu(norm(tf.nn.conv2d(x, k, self._stride, "SAME"))) for x, k, norm in parts]
        return tf.concat(outputs, axis=-1)


class _Flat:
    """The layers of the flat model, one after the other."""

    def __init__(self, channels: int, epsilon: float, group_size: int = 64) -> None:
        self.inputs = tf_keras.Input((None, None, channels))
        self.x = self.inputs
        self._epsilon = epsilon
        self._group_size = group_size

    def add(self, layer: Keras) -> None:
        self.x = layer(self.x)

    def conv(self, filters: int, kernel: int, stride: int = 1, *, relu: bool = True) -> None:
        self.add(tf_keras.layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False))
        self._normalise(relu=relu)

    def block(self, kind: str, expansion: int, stride: int, filters: int, kernel: int, *, skip: bool) -> None:
        x, width = self.x, self.x.shape[-1]
        if kind == "grouped":
            groups = width * expansion // self._group_size
            self.add(GroupConv2D(width * expansion, groups, stride, self._epsilon))
        elif kind == "fused":
            self.conv(width * expansion, kernel, stride)
        elif kind == "depthwise":
            self.conv(width * expansion, 1)
            self.add(tf_keras.layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False))
            self._normalise(relu=True)
        self.conv(filters, 1, relu=False)
        if skip and stride == 1 and width == filters:
            self.x = tf_keras.layers.add([self.x, x])

    def network(self, classes: int) -> Keras:
        """Pool and classify: a 1x1 convolution of one pixel, and the softmax of it."""
        self.add(tf_keras.layers.GlobalAveragePooling2D(keepdims=True))
        if classes:
            self.add(tf_keras.layers.Conv2D(classes, 1))
        self.add(tf_keras.layers.Flatten())
        if classes:
            self.add(tf_keras.layers.Softmax())
        return tf_keras.Model(self.inputs, self.x)

    def _normalise(self, *, relu: bool) -> None:
        self.add(tf_keras.layers.BatchNormalization(epsilon=self._epsilon))
        if relu:
            self.add(tf_keras.layers.ReLU())


def _v1(_arguments: Mapping[str, Any], *, classes: int, channels: int, bn_eps: float) -> Keras:
    flat = _Flat(channels, bn_eps)
    flat.conv(32, 3, 2)
    for kind, expansion, stride, kernel, filters, skip in _V1:
        flat.block(kind, expansion, stride, filters, kernel, skip=skip)
    flat.conv(1280, 1)
    return flat.network(classes)


def _v2(arguments: Mapping[str, Any], *, classes: int, channels: int, bn_eps: float) -> Keras:
    """Build version 2.

    Args:
        arguments: ``stem`` filters and ``stem_kernel``, ``filters`` of each stage, ``top`` filters,
            ``group_size``: filters of one group of a grouped convolution; ``grouped``: whether the fused
            blocks of the third and fourth stage are grouped, too.
        classes: Classes; 0 for none.
        channels: Channels of the image.
        bn_eps: Epsilon of every batch normalisation.
    """
    flat = _Flat(channels, bn_eps, arguments["group_size"])
    flat.conv(arguments["stem"], arguments["stem_kernel"], 2)
    for number, (blocks, filters) in enumerate(zip(_V2, arguments["filters"], strict=True)):
        for kind, expansion, stride in blocks:
            grouped = arguments.get("grouped", False) and kind == "fused" and number > 1
            flat.block("grouped" if grouped else kind, expansion, stride, filters, 3, skip=True)
    flat.conv(arguments["top"], 1)
    return flat.network(classes)


SOURCE = BuilderSet(
    builders={"mobilenet_v1": _v1, "mobilenet_v2": _v2}, packages=("tensorflow", "tf-keras", "numpy")
)
