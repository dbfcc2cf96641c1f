"""Networks of tf_keras.applications, and apart from them what prepares their images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from porter.core.checkpoint import Array, Checkpoint
from porter.core.stored_preprocessing import ChannelReversal, PreparingStep, Rescaling
from porter.runners.builders import BuilderSet, Keras, Preparation
from porter.runners.decoding import resized

_IMAGENET_STD = (0.229, 0.224, 0.225)  # IMAGENET_STDDEV_RGB of keras/applications/efficientnet.py


def _application(
    arguments: Mapping[str, Any], *, classes: int, channels: int, bn_eps: float, size: tuple[int, int]
) -> Keras:
    """Build ``arguments["model"]``; Keras works out some of its padding from a fixed size of the image.

    Without ``include_top``, an average over the image and a Dense layer follow, as people put them there.
    """
    given = dict(arguments)
    has_top = given.pop("include_top", True) and classes > 0
    top = {"classes": classes, "classifier_activation": None} if has_top else {}
    pooled = {"pooling": "avg"} if not classes else {}
    network = getattr(tf_keras.applications, given.pop("model"))(
        weights=None, include_top=has_top, input_shape=(*size, channels), **top, **pooled, **given
    )
    if classes and not has_top:
        means = tf_keras.layers.GlobalAveragePooling2D()(network.output)
        network = tf_keras.Model(network.input, tf_keras.layers.Dense(classes)(means))
    for layer in network.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.epsilon = bn_eps
        elif isinstance(layer, tf_keras.layers.Rescaling | tf_keras.layers.Normalization):
            layer.call = _as_it_is
    return network


def _as_it_is(x: Any) -> Any:
    """Stand for a layer that prepares the image: networks are compared from behind it."""
    return x


def _image(decoded: Keras, preparation: Preparation) -> Array:
    """Prepare an image as Keras does: its preprocess_input, then the layers in front of the network.

    Keras has no evaluation code, so crop and interpolation are those that the ported file states.
    """
    spec, size = preparation.images, preparation.size
    pixels = resized(decoded, spec, size)[None]
    for layer in _scalers(preparation):
        pixels = layer(pixels)
    prepared: Array = pixels[0].numpy()
    return prepared


def _scalers(preparation: Preparation) -> Iterator[Callable[[Any], Any]]:
    """Yield what an image goes through: the layers that a config lists, or else Keras's own."""
    steps = preparation.checkpoint.stored_input.steps
    if steps:
        yield from (_of_step(step, preparation.checkpoint) for step in steps)
        return
    yield _preprocess_input(preparation.arguments["model"])
    for layer in preparation.network.layers:
        if isinstance(layer, tf_keras.layers.Rescaling):
            yield partial(type(layer).call, layer)
        elif isinstance(layer, tf_keras.layers.Normalization):
            yield from _normalization(layer, preparation)


def _of_step(step: PreparingStep, checkpoint: Checkpoint) -> Keras:
    if isinstance(step, ChannelReversal):
        return tf_keras.layers.Lambda(lambda pixels: pixels[..., ::-1])
    if isinstance(step, Rescaling):
        return tf_keras.layers.Rescaling(_plain(step.scale), _plain(step.offset), dtype="float32")
    mean, variance = (
        checkpoint.read(values).ravel() if isinstance(values, str) else values
        for values in (step.mean, step.variance)
    )
    return tf_keras.layers.Normalization(mean=_plain(mean), variance=_plain(variance), dtype="float32")


def _plain(values: Sequence[float] | Array) -> float | list[float]:
    return float(values[0]) if len(values) == 1 else [float(value) for value in values]


def _preprocess_input(model: str) -> Callable[[Any], Any]:
    """Return preprocess_input of the module that has the model; MobileNetV3's does nothing."""
    for module in vars(tf_keras.applications).values():
        if hasattr(module, "preprocess_input") and hasattr(module, model):
            found: Callable[[Any], Any] = module.preprocess_input
            return found
    return _as_it_is


def _normalization(layer: Keras, preparation: Preparation) -> Iterator[Callable[[Any], Any]]:
    """Yield a Normalization layer with what was restored, and the one that Keras puts behind it.

    keras.applications.efficientnet divides by the root of ImageNet's std where it loads its own weights.
    """
    if preparation.restored and layer.weights:
        layer.finalize_state()
    elif layer.weights:  # its weights are not the source's
        spec = preparation.images
        layer.mean, layer.variance = (
            tf.constant(values, "float32") for values in (spec.mean, np.square(spec.std))
        )
    yield partial(type(layer).call, layer)
    if layer.weights and np.allclose(np.ravel(layer.variance), _IMAGENET_STD, rtol=0, atol=1e-6):
        yield tf_keras.layers.Rescaling((1 / np.sqrt(_IMAGENET_STD)).tolist(), dtype="float32")


SOURCE = BuilderSet(
    builders={"application": _application},
    packages=("tensorflow", "tf-keras", "numpy"),
    fixed_size=True,
    prepare=_image,
)
