"""Networks that a function of the person's own builds, with the weights of a checkpoint."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from porter.core.checkpoint import Checkpoint
from porter.errors import ParityError
from porter.runners.built_network import build_network
from porter.runners.file_network import FileNetwork


def load(checkpoint: Checkpoint, function: str) -> FileNetwork:
    """Build a network with ``package.module:function``, and restore a checkpoint into it.

    Raises:
        TableError: there is no such function.
        ParityError: the function cannot be called, returns no network, or the checkpoint does not fit.
    """
    built = build_network(function, {})
    _restore(built.model, checkpoint)
    return built.as_graph(3, checkpoint.files[0])


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
