"""The network that a person's own function builds, and what it computes as one graph."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from porter.core.named_function import named_function
from porter.errors import ParityError, PorterError
from porter.runners.file_network import FileNetwork, frozen

_AXES = 4


class Built(NamedTuple):
    """A network that a function returned.

    Attributes:
        model: A Keras model of either generation, or a `tf.Module`.
        words: What built it.
    """

    model: Any
    words: str

    @property
    def is_keras_3(self) -> bool:
        """Whether it is a model of Keras 3."""
        return any(kind.__module__.partition(".")[0] == "keras" for kind in type(self.model).__mro__)

    @property
    def variables(self) -> list[Any]:
        """Its floating-point variables: others count, or seed."""
        return [v for v in self.model.variables if tf.as_dtype(v.dtype).is_floating]

    def run(self, images: Any) -> Any:
        """Call it on images (N, H, W, C), as in inference."""
        takes = inspect.signature(getattr(self.model, "call", self.model.__call__)).parameters
        return self.model(images, training=False) if "training" in takes else self.model(images)

    def as_graph(self, channels: int, file: Path) -> FileNetwork:
        """Return what it computes, its variables as constants; `file` is named in messages."""
        shape = getattr(self.model, "input_shape", None)
        if not isinstance(shape, tuple) or len(shape) != _AXES:
            shape = (None, None, None, channels)
        call: Any = tf.function(self.run)
        concrete = call.get_concrete_function(tf.TensorSpec((None, *shape[1:]), tf.float32))
        keras = ("keras",) if self.is_keras_3 else ("tf-keras",)
        words = f"the person's own network ({self.words})"
        return frozen(concrete, words, ("tensorflow", *keras, "numpy"), file)


def build_network(function: str, arguments: Mapping[str, Any]) -> Built:
    """Call ``package.module:function``; whoever calls this has made sure that it may be run.

    Raises:
        TableError: there is no such function.
        ParityError: it fails, or returns no network (``runner/own-source``).
    """
    build = named_function(function)
    try:
        model = build(**arguments)
    except Exception as error:  # a person's own code
        raise failed(function, error) from error
    built = Built(model, f"built by {function}")
    if not isinstance(model, tf.Module) and not built.is_keras_3:
        raise ParityError(
            "runner/own-source",
            f"{function} returns no network",
            expected="a Keras model or a tf.Module",
            found=type(model).__name__,
        )
    return built


def failed(function: str, error: Exception) -> PorterError:
    """Return the refusal of a function that failed."""
    if isinstance(error, PorterError):
        return error
    first = (str(error).strip().splitlines() or [""])[0]
    return ParityError("runner/own-source", f"{function} failed ({type(error).__name__}: {first})")
