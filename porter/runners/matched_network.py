"""The network of a source that is matched: from its file, or from a function of the person's own."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from porter.checkpoints.carried import carried_network
from porter.core.checkpoint import Checkpoint
from porter.errors import ParityError, PorterError
from porter.runners import file_network
from porter.runners.built_network import build_network
from porter.runners.file_network import FileNetwork


def load(checkpoint: Checkpoint, function: str) -> FileNetwork:
    """Load the network that a file carries, or build it with a function of the person's own.

    Args:
        checkpoint: The source; without a function it carries its network.
        function: ``"package.module:function"``, into whose network the weights are restored, or "".

    Raises:
        TableError: there is no such function.
        ParityError: the network cannot be loaded or built, is none, or the checkpoint does not fit it.
    """
    if function:
        built = build_network(function, {})
        _restore(built.model, checkpoint)
        return built.as_graph(3, checkpoint.files[0])
    carried = carried_network(checkpoint)
    assert carried is not None  # noqa: S101 (the parent has asked)
    try:
        return file_network.load(checkpoint, carried)
    except PorterError:
        raise
    except Exception as error:  # whatever TensorFlow raises: a layer of somebody's own class, a newer Keras
        first = (str(error).strip().splitlines() or [""])[0]
        raise ParityError(
            "match/not-loaded",
            f"TensorFlow cannot load the network in the file ({type(error).__name__}: {first[:200]})",
            file=checkpoint.path,
            hint="--source MODULE:FUNCTION names the code that builds it.",
        ) from error


def _restore(model: Any, checkpoint: Checkpoint) -> None:
    path = str(checkpoint.path)
    try:
        if checkpoint.format.startswith("Keras"):
            # Keras loads no folder, as a preset of KerasHub is.
            model.load_weights(str(checkpoint.files[0]) if checkpoint.path.is_dir() else path)
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
