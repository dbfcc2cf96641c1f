"""Networks that a function of the person's own builds, with the weights of a checkpoint."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from porter.core.checkpoint import Checkpoint
from porter.core.named_function import named_function
from porter.errors import ParityError, PorterError
from porter.runners.file_network import FileNetwork, frozen

_AXES = 4


def load(checkpoint: Checkpoint, function: str) -> FileNetwork:
    """Build a network with ``package.module:function``, and restore a checkpoint into it.

    Raises:
        TableError: there is no such function.
        ParityError: the function cannot be called, returns no network, or the checkpoint does not fit.
    """
    try:
        model = named_function(function)()
    except PorterError:
        raise
    except Exception as error:
        raise ParityError(
            "match/source-function", f"{function} cannot be called ({type(error).__name__}: {error})"
        ) from error
    _restore(model, checkpoint)
    shape = _image_shape(model)

    @tf.function  # type: ignore[untyped-decorator]
    def call(images: Any) -> Any:
        return model(images, training=False) if hasattr(model, "layers") else model(images)

    concrete = call.get_concrete_function(tf.TensorSpec((None, *shape[1:]), tf.float32))
    packages = ("tensorflow", "numpy")
    return frozen(concrete, f"built by {function}", packages, checkpoint.files[0])


def _restore(model: Any, checkpoint: Checkpoint) -> None:
    path = str(checkpoint.path)
    try:
        if checkpoint.format.startswith("Keras"):
            model.load_weights(path)
            return
        prefix = tf.train.latest_checkpoint(path) or path.removesuffix(".index")
        names = {name.partition("/")[0] for name, _ in tf.train.list_variables(prefix)}
        root = tf.train.Checkpoint(model=model) if "model" in names else tf.train.Checkpoint(root=model)
        # `read` and not `restore`, which wants a save counter that only `save` writes.
        root.read(prefix).assert_existing_objects_matched().expect_partial()
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise ParityError(
            "match/source-restore",
            f"the weights do not fit the network ({type(error).__name__}: {first})",
            file=checkpoint.path,
        ) from error


def _image_shape(model: Any) -> tuple[int | None, ...]:
    shape = getattr(model, "input_shape", None)
    return shape if isinstance(shape, tuple) and len(shape) == _AXES else (None, None, None, 3)
