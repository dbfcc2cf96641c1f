"""Variances with which every norm of a source scales what it takes to the order of one.

With others signals grow from block to block, since each adds to what it takes: gates saturate and let nothing
be seen of what is in front of them, and the few that do not let rounding grow past what counts as proved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import node_def_pb2

from porter.core.stored_network import plain_role
from porter.runners.graph_lifting import integers, wide_operation
from porter.runners.graph_operations import SourceOperation

_INDEX = tf.int32.as_datatype_enum


def measure_variances(
    graph: Any, operations: Sequence[SourceOperation], keys: Mapping[str, str], conditional: Container[str]
) -> tuple[str, ...]:
    """Let norms whose variance is not fed take the mean square of their own input, in place.

    What is fed to `spread_of` a placeholder multiplies it. One number for all channels: a channel has few
    elements in the last maps of small images.

    Args:
        graph: A GraphDef in float64 whose weights are placeholders.
        operations: The source's.
        keys: Key of the weight that each placeholder stands for, by name.
        conditional: Names of operations that may have no value.

    Returns:
        The names of the placeholders that need not be fed any more.
    """
    nodes = {node.name: node for node in graph.node}
    inputs = _inputs(operations, keys)
    taken = {name: value for name, value in inputs if _producer(value) not in conditional}
    measured = [node for name, value in taken.items() for node in _mean_square(nodes[name], value)]
    depends = {node.name: list(map(_producer, node.input)) for node in [*graph.node, *measured]}
    depends |= {name: [f"{name}/measured"] for name in taken}
    try:
        TopologicalSorter(depends).prepare()
    except CycleError:  # a loop, or a norm that is not one
        return ()
    for name in taken:
        nodes[name].op = "PlaceholderWithDefault"
        nodes[name].input.append(f"{name}/measured")
    graph.node.extend(measured)
    return tuple(taken)


def spread_of(name: str) -> str:
    """Return the placeholder of what multiplies the variance that placeholder `name` is."""
    return f"{name}/spread"


def _inputs(operations: Sequence[SourceOperation], keys: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the placeholder of each norm's variance, and the tensor that the norm takes."""
    names = {key: name for name, key in keys.items()}
    placeholders = Counter(keys.values())
    for operation in reversed(operations):  # so that the first counts where a norm is called twice
        value = operations[operation.inputs[0]].tensor if operation.inputs else ""
        for role, key in operation.variables.items():
            is_known = placeholders[key] == 1 and value and not operation.beside
            if operation.kind == "norm" and plain_role(role) == "variance" and is_known:
                yield names[key], value


def _mean_square(variance: Any, value: str) -> Iterator[Any]:
    """Yield the operations that give a variance's shape to the mean square of a tensor."""
    name = f"{variance.name}/measured"
    sides = [each.size for each in variance.attr["shape"].shape.dim]
    yield integers(f"{name}/flat", [-1])
    yield integers(f"{name}/axis", [0])
    yield integers(f"{name}/shape", sides)
    indexed = (
        ("Tshape", wide_operation("Reshape", f"{name}/values", value, f"{name}/flat")),
        ("Tidx", wide_operation("Mean", f"{name}/mean", f"{name}/squares", f"{name}/axis")),
        ("Tidx", wide_operation("BroadcastTo", f"{name}/equal", f"{name}/mean", f"{name}/shape")),
    )
    for index, node in indexed:
        node.attr[index].type = _INDEX
        yield node
    yield wide_operation("Square", f"{name}/squares", f"{name}/values")
    spread = node_def_pb2.NodeDef(name=spread_of(variance.name), op="Placeholder")
    spread.attr["dtype"].type = tf.float64.as_datatype_enum
    spread.attr["shape"].CopyFrom(variance.attr["shape"])
    yield spread
    yield wide_operation("Mul", name, f"{name}/equal", spread.name)


def _producer(value: str) -> str:
    return value.lstrip("^").partition(":")[0]
