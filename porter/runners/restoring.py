"""Restoring a checkpoint into a TensorFlow network, by the stored object graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from porter.core.checkpoint import Checkpoint
from porter.errors import ParityError
from porter.planning.plan import Plan


def restore(network: Any, plan: Plan, checkpoint: Checkpoint, notes: Sequence[str] = ()) -> str:
    """Restore every part of a network from where the stored object graph has it; return the prefix.

    Args:
        network: A network of TensorFlow's.
        plan: The plan of the port.
        checkpoint: The source.
        notes: Why this network takes the weights, for the message if it cannot.

    Raises:
        ParityError: the checkpoint stores no object graph or lacks a variable, or the network lacks a part.
    """
    if not checkpoint.graph.stored:
        raise _by_name_only(checkpoint)
    prefix = str(index_of(checkpoint).with_suffix(""))
    for name, stored in plan.places.items():
        tracked = objects(network, [path := plan.variant.part(name).path])[path]
        for edge in reversed(stored.split("/") if stored else []):
            tracked = tf.train.Checkpoint(**{edge: tracked})
        root = tracked if isinstance(tracked, tf.train.Checkpoint) else tf.train.Checkpoint(root=tracked)
        try:
            root.read(prefix).expect_partial().assert_existing_objects_matched()
        except AssertionError as error:  # its message is every variable with its values
            raise _lacking(checkpoint, notes) from error
    return prefix


def index_of(checkpoint: Checkpoint) -> Path:
    """Return the index file of a TensorBundle, whatever the person called it.

    Raises:
        ParityError: the checkpoint is no TensorBundle.
    """
    index = next((file for file in checkpoint.files if file.suffix == ".index"), None)
    if index is None:
        raise _by_name_only(checkpoint)
    return index


def objects(network: Any, paths: Iterable[str]) -> dict[str, Any]:
    """Return what is at the object paths of a network.

    Raises:
        ParityError: there is nothing at one of them.
    """
    # Asking a Keras model for its children is slow: ask once.
    children: dict[int, Mapping[str, Any]] = {}
    return {path: _follow(network, path, children) for path in paths}


def _follow(root: Any, path: str, known: dict[int, Mapping[str, Any]]) -> Any:
    """Follow the edges of TensorFlow's own object graph from `root`."""
    found = root
    for edge in path.split("/") if path else ():
        if id(found) not in known:
            known[id(found)] = found._trackable_children()  # noqa: SLF001 (TensorFlow has no public name)
        if edge not in known[id(found)]:
            raise ParityError("runner/no-such-object", f"the TensorFlow network has no {path!r}")
        found = known[id(found)][edge]
    return found


def _lacking(checkpoint: Checkpoint, notes: Sequence[str]) -> ParityError:
    return ParityError(
        "runner/not-restored",
        f"{'; '.join(notes) or 'a network is there'}; TensorFlow cannot restore these weights into that",
        file=checkpoint.path,
        hint="Without --checkpoint the network is checked on random weights.",
    )


def _by_name_only(checkpoint: Checkpoint) -> ParityError:
    return ParityError(
        "runner/not-object-based",
        "TensorFlow can restore these weights by name only",
        file=checkpoint.path,
        found=checkpoint.format,
        hint="Without --checkpoint the network is checked on random weights.",
    )
