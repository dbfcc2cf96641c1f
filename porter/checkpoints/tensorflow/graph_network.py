"""The network that a TensorFlow graph computes, read from its nodes and constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from porter.checkpoints.tensorflow.graph_arithmetic import ARITHMETIC, FOLDED
from porter.checkpoints.tensorflow.graph_channels import CHANNELS
from porter.checkpoints.tensorflow.graph_dilations import DILATIONS
from porter.checkpoints.tensorflow.graph_inlining import Frame, InlinedGraph, NodeOutput
from porter.checkpoints.tensorflow.graph_layers import READERS, read_other
from porter.checkpoints.tensorflow.graph_nodes import GraphNode
from porter.checkpoints.tensorflow.graph_values import Constant, Layers, Value, Weight
from porter.core.checkpoint import Array
from porter.core.stored_network import StoredNetwork, needed_numbers, needed_part
from porter.errors import printable

ORIGIN = "the source's graph"
_MOST_INPUTS = 10_000
_VARIABLES = ("VarHandleOp", "VariableV2", "Variable")
_PLACEHOLDERS = ("Placeholder", "PlaceholderV2")
# They change no number of a weight, and its shape is that of the stored variable.
_SHAPING = ("Reshape", "ExpandDims", "Squeeze", "BroadcastTo", "Cast")
_UNREADABLE = (ValueError, IndexError, TypeError, KeyError, OverflowError, ZeroDivisionError)

_READERS = (READERS, ARITHMETIC, CHANNELS, DILATIONS)

Identity = tuple[Frame, str, int]


def network_of_graph(
    graph: InlinedGraph,
    outputs: Sequence[str],
    keys: Mapping[str, str],
    shape_of: Callable[[str], tuple[int, ...] | None],
) -> StoredNetwork | str | None:
    """Return what a graph computes; None where that is no network.

    Args:
        graph: The graph.
        outputs: What the network returns, as the graph spells it.
        keys: Checkpoint key of each variable's node in the graph's own frame.
        shape_of: The shape of a stored variable.

    Returns:
        In words what is not understood, where that is so.

    Raises:
        Malformed: the graph is damaged.
    """
    located = located_network(graph, outputs, keys, shape_of)
    return located.network if isinstance(located, LocatedNetwork) else located


def located_network(
    graph: InlinedGraph,
    outputs: Sequence[str],
    keys: Mapping[str, str],
    shape_of: Callable[[str], tuple[int, ...] | None],
) -> LocatedNetwork | str | None:
    """Do as `network_of_graph` does, and tell which tensor is the output of each operation.

    Raises:
        Malformed: the graph is damaged.
    """
    reader = _Reader(graph, keys, Layers(shape_of))
    try:
        found = [reader.value(graph.source(graph.main, spelt)) for spelt in outputs]
    except _UNREADABLE:
        return f"{ORIGIN}: {reader.place}"
    numbers = [value for value in found if isinstance(value, int)]
    tensors = reader.tensors()
    needed, ends = needed_part(reader.layers.operations, numbers)
    if not any(operation.variables for operation in needed):
        return None
    return LocatedNetwork(
        StoredNetwork(needed, ends, ORIGIN, is_graph=True),
        tuple(tensors[n] for n in needed_numbers(reader.layers.operations, numbers)),
    )


class LocatedNetwork(NamedTuple):
    """A network, and the tensor of the graph's own frame that each of its operations gives ("" in a call)."""

    network: StoredNetwork
    tensors: tuple[str, ...]


class _Reader:
    def __init__(self, graph: InlinedGraph, keys: Mapping[str, str], layers: Layers) -> None:
        self.layers = layers
        self._graph, self._keys = graph, keys
        self._values: dict[Identity, Value] = {}
        self._reading: GraphNode | None = None

    @property
    def place(self) -> str:
        """What was read last."""
        node = self._reading
        return "its outputs" if node is None else f"the node {printable(node.name)} ({printable(node.op)})"

    def value(self, output: NodeOutput) -> Value:
        """Return what an output is, everything that it depends on first."""
        waiting = [output]
        open_nodes: dict[Identity, list[NodeOutput]] = {}
        while waiting:
            current = waiting[-1]
            identity = current.frame, current.node.name, current.number
            if identity in self._values:
                waiting.pop()
                continue
            self._reading = current.node
            if len(current.node.inputs) > _MOST_INPUTS:
                raise ValueError("a node has implausibly many inputs")
            sources = open_nodes.get(identity)
            if sources is None:
                sources = list(self._graph.inputs(current)) if not self._is_end(current) else []
            known = [(each.frame, each.node.name, each.number) for each in sources]
            missing = [each for each, key in zip(sources, known, strict=True) if key not in self._values]
            if missing and identity in open_nodes:
                raise ValueError("the graph has a loop")
            if missing:
                open_nodes[identity] = sources
                waiting.extend(missing)
                continue
            self._values[identity] = self._computed(current, [self._values[key] for key in known])
            waiting.pop()
        return self._values[output.frame, output.node.name, output.number]

    def tensors(self) -> dict[int, str]:
        """Return the tensor of each operation by number: the first one that was found to be its output."""
        found: dict[int, str] = {}
        for identity, value in self._values.items():
            frame, name, number = identity
            if isinstance(value, int):
                own = f"{name}:{number}" if frame is self._graph.main else self._graph.given.get(identity, "")
                found[value] = found.get(value) or own
        return found

    def _is_end(self, output: NodeOutput) -> bool:
        is_weight = output.frame is self._graph.main and output.node.name in self._keys
        return is_weight or output.node.op in (*_VARIABLES, *_PLACEHOLDERS, "Const")

    def _end(self, output: NodeOutput) -> Value:
        """Return what takes nothing: a variable, a constant or the images."""
        node = output.node
        if output.frame is self._graph.main and node.name in self._keys:
            return Weight("", key=self._keys[node.name])
        if node.op in _VARIABLES:
            return Weight("", key=f"unsaved/{node.name}")
        if node.op == "Const":
            return Constant(node.constant())
        shape = node.shape("shape")
        return self.layers.add(
            "input", node.name, (), {"shape": shape}, channels=shape[-1] if shape else None
        )

    def _computed(self, output: NodeOutput, values: list[Value]) -> Value:
        node, layers = output.node, self.layers
        if self._is_end(output):
            return self._end(output)
        if not any(isinstance(value, int) for value in values):
            return _without_images(node.op, values)
        if node.op in ("Shape", "Size", "Rank", "ShapeN"):
            return Constant(None)
        read = next((readers[node.op] for readers in _READERS if node.op in readers), None)
        if read is None or output.number:
            found = read_other(layers, node, values)
            if output.number:
                known = {**layers.operations[found].attributes, "output": output.number}
                layers.operations[found] = layers.operations[found]._replace(attributes=known)
            return found
        return read(layers, node, values)


def _behind_batch(lengths: list[Array | None]) -> tuple[int, ...] | None:
    """Return the lengths of a shape behind its first, if all of them are known."""
    known = [each for each in lengths[1:] if each is not None and each.shape == () and each.dtype.kind == "i"]
    return tuple(map(int, known)) if len(known) == len(lengths) - 1 > 1 else None


def _without_images(op: str, values: list[Value]) -> Value:
    """Return what an operation on weights and constants alone is."""
    if values and op in _SHAPING:
        return values[0]
    if any(isinstance(value, Weight) for value in values):
        return Weight(op, values)
    arrays = [value.value for value in values if isinstance(value, Constant)]
    if op not in FOLDED or not arrays or any(array is None or array.dtype == object for array in arrays):
        return Constant(None, _behind_batch(arrays) if op == "Pack" else None)
    with np.errstate(all="ignore"):
        found = FOLDED[op](*arrays)
        return Constant(None if found is None else np.asarray(found))
