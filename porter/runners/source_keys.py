"""Which variable of a checkpoint each constant of a frozen graph is, found by its values."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from porter.core.checkpoint import Array, Checkpoint
from porter.planning.ledger import COPIES

_EQUAL = (
    "{count} variables of the source hold values that others hold too, {first} first, and only their order "
    "tells which layer is whose: give the source other values (train it a step) to prove it"
)


def constant_keys(graph: Any, checkpoint: Checkpoint) -> tuple[dict[str, str], list[str]]:
    """Return the checkpoint key of each constant that is a weight, found by its values.

    Variables that hold equal values are told apart by their names, or else taken in the source's order. With
    equal values nothing can prove an order, so the second is also returned in words.
    """
    stored: dict[str, list[str]] = {}
    for key, spec in checkpoint.specs.items():
        if spec.dtype.is_float and spec.shape and key in checkpoint.graph.node_of_key:
            stored.setdefault(_digest(checkpoint.read(key)), []).append(key)
    for digest, keys in stored.items():  # what Keras 3 exports holds every variable a second time
        stored[digest] = [key for key in keys if not key.startswith(COPIES)] or keys
    named = _by_name(graph, checkpoint)
    found: dict[str, str] = {}
    assumed: list[str] = []
    for name, value in _constants(graph):
        keys = stored.get(_digest(value), [])
        if len(keys) == 1:
            found[name] = keys[0]
        elif name in named:
            found[name] = named[name]
        elif keys:
            found[name] = _in_order(name, keys, found)
            assumed.append(found[name])
    return found, [_EQUAL.format(count=len(assumed), first=assumed[0])] if assumed else []


def _in_order(name: str, keys: Sequence[str], found: Mapping[str, str]) -> str:
    """Return the key that is left of those that hold equal values, in the source's order."""
    left = [key for key in keys if key not in found.values()]
    alike = [key for key in left if _leaf(key) in _leaf(name) or _leaf(name) in _leaf(key)]
    return (alike or left or list(keys))[0]


def _leaf(name: str) -> str:
    return name.rpartition("/")[2].partition(":")[0]


def _by_name(graph: Any, checkpoint: Checkpoint) -> dict[str, str]:
    """Return the constants that are called as the checkpoint calls them: those of a frozen graph."""
    return {node.name: node.name for node in graph.node if node.name in checkpoint.specs}


def _constants(graph: Any) -> Iterator[tuple[str, Array]]:
    for node in graph.node:
        tensor = node.attr["value"].tensor
        if node.op == "Const" and tensor.dtype in (1, 2, 19, 14) and tensor.tensor_shape.dim:
            yield node.name, tf.make_ndarray(tensor)


def _digest(values: Array) -> str:
    shape = str(values.shape).encode()
    return hashlib.sha256(shape + np.ascontiguousarray(values, np.float32).tobytes()).hexdigest()
