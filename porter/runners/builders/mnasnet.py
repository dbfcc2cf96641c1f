"""MNasNet and MixNet of tensorflow/tpu, from the published architecture, under their own names.

The original code makes Keras layers without names, so that Keras counts them over the whole network: the
blocks first, in order, then the stem, then the head. Its norms are counted within their own scope.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import tensorflow as tf
import tf_keras

from porter.runners.builders import BuilderSet, Keras

_Step = Callable[[Any], Any]


class _Maker:
    """Makes layers and puts each where the original's variable is called."""

    def __init__(self, model: Keras, arguments: Mapping[str, Any], bn_eps: float) -> None:
        self._model = model
        self._scope, self._prefix = arguments["scope"], arguments["prefix"]
        self._bn_eps = bn_eps
        self._counts: Counter[str] = Counter()

    def _put(self, path: str, layer: Keras) -> Keras:
        *folders, name = path.split("/")
        node = self._model
        for folder in folders:
            if not hasattr(node, folder):
                setattr(node, folder, tf.Module())
            node = getattr(node, folder)
        setattr(node, name, layer)
        return layer

    def _counted(self, scope: str, kind: str) -> str:
        number = self._counts[scope + kind]
        self._counts[scope + kind] += 1
        return f"{kind}_{number}" if number else kind

    def conv(self, part: str, filters: int, groups: int = 1, **options: Any) -> _Step:
        """Return a convolution in groups that have layers of their own."""
        layers = []
        for length in _split(filters, groups):
            path = f"{self._scope}/{self._prefix}{part}/{self._counted('', 'conv2d')}"
            options = {"kernel_size": 1, "padding": "same", "use_bias": False, **options}
            layers.append(self._put(path, tf_keras.layers.Conv2D(length, **options)))
        return partial(_grouped, layers)

    def depthwise(self, part: str, kernels: list[int], stride: int) -> _Step:
        """Return a depthwise convolution whose groups of channels have kernels of their own."""
        layers = []
        for kernel in kernels:
            path = f"{self._scope}/{self._prefix}{part}/{self._counted('', 'depthwise_conv2d')}"
            layer = tf_keras.layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False)
            layers.append(self._put(path, layer))
        return partial(_grouped, layers)

    def norm(self, part: str) -> _Step:
        """Return a batch normalisation for inference."""
        scope = f"{self._prefix}{part}"
        path = f"{scope}/{self._counted(scope, 'batch_normalization')}"
        layer = self._put(path, tf_keras.layers.BatchNormalization(epsilon=self._bn_eps))
        return partial(layer, training=False)

    def dense(self, part: str, classes: int) -> _Step:
        """Return the classifier."""
        dense: _Step = self._put(f"{self._scope}/{self._prefix}{part}/dense", tf_keras.layers.Dense(classes))
        return dense

    def result(self, part: str) -> _Step:
        """Return a layer that passes on what the part computes, for the check to look at."""
        result: _Step = self._put(f"{self._prefix}{part}/result", tf_keras.layers.Activation("linear"))
        return result


def _split(length: int, groups: int) -> list[int]:
    """Divide channels as the original does: the first group takes what is left over."""
    rest = length // groups
    return [length - rest * (groups - 1), *[rest] * (groups - 1)]


def _grouped(layers: list[Keras], x: Any) -> Any:
    if len(layers) == 1:
        return layers[0](x)
    parts = tf.split(x, _split(x.shape[-1], len(layers)), axis=-1)
    return tf.concat([layer(part) for layer, part in zip(layers, parts, strict=True)], axis=-1)


def _block(make: _Maker, part: str, field: Mapping[str, str], channels: int, *, first: bool) -> _Step:
    """Return a block in timm's notation: k3.5 two kernels, a1.1 and p1.1 two groups of 1x1, nsw swish."""
    stride = int(field["s"]) if first else 1
    middle, out = channels * int(field["e"]), int(field["c"])
    act = tf.nn.silu if field.get("n") == "sw" else tf.nn.relu
    steps: list[_Step] = []
    if middle != channels:
        steps += [make.conv(part, middle, _groups(field.get("a"))), make.norm(part), act]
    steps += [make.depthwise(part, [*map(int, field["k"].split("."))], stride), make.norm(part), act]
    if "se" in field:
        squeezed = max(1, int(channels * float(field["se"])))
        reduce, expand = (make.conv(f"{part}/se", n, use_bias=True) for n in (squeezed, middle))
        steps.append(partial(_gated, reduce, act, expand))
    steps += [make.conv(part, out, _groups(field.get("p"))), make.norm(part)]
    skip = stride == 1 and channels == out and "noskip" not in field
    result = make.result(part)
    return lambda x: result(x + _run(steps, x) if skip else _run(steps, x))


def _gated(reduce: _Step, act: _Step, expand: _Step, x: Any) -> Any:
    return x * tf.sigmoid(expand(act(reduce(tf.reduce_mean(x, axis=(1, 2), keepdims=True)))))


def _run(steps: list[_Step], x: Any) -> Any:
    for step in steps:
        x = step(x)
    return x


def _groups(text: str | None) -> int:
    return len(text.split(".")) if text else 1


def _fields(text: str) -> dict[str, str]:
    """Take ``ir_r2_k3_s2_e6_c24_se0.25`` apart."""
    found = {}
    for word in text.split("_")[1:]:
        key = word.rstrip("0123456789.")
        found.update({"n": "sw"} if word == "nsw" else {key: word[len(key) :]})
    return found


class _Network(tf_keras.Model):  # type: ignore[misc]  # tf_keras has no types
    def __init__(self, arguments: Mapping[str, Any], *, classes: int, channels: int, bn_eps: float) -> None:
        super().__init__()
        make = _Maker(self, arguments, bn_eps)
        blocks = list(_blocks(make, arguments))
        stem = [make.conv("stem", arguments["stem"], kernel_size=3, strides=2), make.norm("stem")]
        head = [make.conv("head", arguments["head"]), make.norm("head")]
        self._steps = [
            *stem,
            tf.nn.relu,
            make.result("stem"),
            *blocks,
            *head,
            tf.nn.relu,
            make.result("head"),
        ]
        self._steps.append(partial(tf.reduce_mean, axis=(1, 2)))
        if classes:
            self._steps.append(make.dense("head", classes))
        self(tf.zeros((1, 32, 32, channels), tf_keras.backend.floatx()))

    def call(self, x: Any) -> Any:
        """Return the logits of images (N, H, W, C), or the pooled features if there are no classes."""
        return _run(self._steps, x)


def _blocks(make: _Maker, arguments: Mapping[str, Any]) -> Iterator[_Step]:
    channels, number = arguments["stem"], 0
    for text in arguments["blocks"]:
        field = _fields(text)
        for repeat in range(int(field["r"])):
            yield _block(make, f"blocks_{number}", field, channels, first=repeat == 0)
            channels, number = int(field["c"]), number + 1


def _network(arguments: Mapping[str, Any], **lengths: Any) -> Keras:
    return _Network(arguments, **lengths)


SOURCE = BuilderSet(builders={"network": _network}, packages=("tensorflow", "tf-keras", "numpy"))
