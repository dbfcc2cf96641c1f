"""Records what layers of a Keras network give while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from porter.core.checkpoint import Array


@contextmanager
def watched_layers(layers: Mapping[str, Any]) -> Iterator[dict[str, Array]]:
    """Record the output of each layer, by wrapping its `call`, which eager execution looks up each time.

    Nothing is compiled meanwhile: Keras has XLA compile each grouped convolution anew at each call, which for
    a ConvNeXt takes far longer than all else, and then runs it in float64 many times slower than TensorFlow.
    """
    seen: dict[str, Array] = {}
    calls = {name: layer.call for name, layer in layers.items()}

    def wrapped(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            output = calls[name](*args, **kwargs)
            seen[name] = np.array(output)
            return output

        return call

    was_eager = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(run_eagerly=True)
    try:
        for name, layer in layers.items():
            layer.call = wrapped(name)
        yield seen
    finally:
        tf.config.run_functions_eagerly(was_eager)
        for name, layer in layers.items():
            layer.call = calls[name]
