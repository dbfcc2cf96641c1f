"""Networks of tf_keras.applications, without what prepares their pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tf_keras

from porter.runners.builders import Keras, Source


def _application(
    arguments: Mapping[str, Any], *, classes: int, channels: int, bn_eps: float, size: tuple[int, int]
) -> Keras:
    """Build ``arguments["model"]``; Keras works out some of its padding from a fixed size of the picture."""
    given = dict(arguments)
    top = {"classes": classes, "classifier_activation": None} if classes else {"pooling": "avg"}
    network = getattr(tf_keras.applications, given.pop("model"))(
        weights=None, include_top=bool(classes), input_shape=(*size, channels), **top, **given
    )
    for layer in network.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.epsilon = bn_eps
        elif isinstance(layer, tf_keras.layers.Rescaling | tf_keras.layers.Normalization):
            layer.call = _as_it_is
    return network


def _as_it_is(x: Any) -> Any:
    """Stand for a layer that prepares the picture: networks are compared from behind it."""
    return x


SOURCE = Source(
    builders={"application": _application},
    packages=("tensorflow", "tf-keras", "numpy"),
    fixed_size=True,
)
