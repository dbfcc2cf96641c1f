"""A graph with its functions laid open: what feeds an input, through every call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from porter.checkpoints.tensorflow.graph_def import Graph, GraphFunction
from porter.checkpoints.tensorflow.graph_nodes import GraphNode
from porter.errors import printable
from porter.formats.malformed import Malformed

_CALLS = frozenset(("PartitionedCall", "StatefulPartitionedCall"))
# They pass on one of their inputs: the one whose number the output has.
_PASSING = frozenset(
    (
        "Identity",
        "IdentityN",
        "StopGradient",
        "PreventGradient",
        "CheckNumerics",
        "Snapshot",
        "EnsureShape",
        "PlaceholderWithDefault",
        "ReadVariableOp",
    )
)
# Numbers of DT_FLOAT, DT_DOUBLE, DT_BFLOAT16 and DT_HALF.
_FLOATS = (1, 2, 14, 19)
_DEEPEST = 64
_MOST_STEPS = 100_000
_MOST_FRAMES = 10_000


class Frame:
    """A graph's nodes, or one call of a function.

    Attributes:
        nodes: By name.
        arguments: What a call gives, as its caller spells it.
        caller: The frame of the call; None for the graph itself.
        depth: How many calls deep it is.
    """

    __slots__ = ("arguments", "caller", "depth", "nodes", "results")

    def __init__(
        self,
        nodes: Mapping[str, GraphNode],
        arguments: Mapping[str, str],
        caller: Frame | None,
        results: tuple[str, ...] = (),
    ) -> None:
        self.nodes, self.arguments, self.caller, self.results = nodes, arguments, caller, results
        self.depth: int = 0 if caller is None else caller.depth + 1


class NodeOutput(NamedTuple):
    """One output of one node of one frame."""

    frame: Frame
    node: GraphNode
    number: int


class InlinedGraph:
    """A graph whose calls are followed.

    Args:
        graph: The graph.

    Attributes:
        main: The frame of its own nodes.
        given: The output of a node of its own that calls, by the frame, name and number of what it gives.
    """

    def __init__(self, graph: Graph) -> None:
        self.main = Frame(graph.nodes, {}, None)
        self.given: dict[tuple[Frame, str, int], str] = {}
        self._data = graph.functions
        self._functions: dict[str, GraphFunction] = {}
        self._frames: dict[tuple[Frame, str], Frame] = {}

    def source(self, frame: Frame, spelt: str) -> NodeOutput:
        """Return what an input is, behind calls, arguments and operations that pass values on.

        Raises:
            Malformed: it does not exist, or calls follow each other without end.
        """
        call = ""
        for _ in range(_MOST_STEPS):
            name, _, rest = spelt.partition(":")
            if frame.caller is not None and name in frame.arguments:
                frame, spelt = frame.caller, frame.arguments[name]
                continue
            node = frame.nodes.get(name)
            if node is None:
                raise Malformed(
                    "graphdef/missing-node", "a node takes what does not exist", found=printable(spelt)
                )
            number = self._number(node, rest)
            called = self.called(frame, node)
            if called is not None:
                call = f"{name}:{number}" if frame is self.main else call
                frame, spelt = called, _at(called.results, number, node)
            elif node.inputs and (node.op in _PASSING or (node.op == "Cast" and not _truncates(node))):
                spelt = _at(node.inputs, number, node)
            else:
                if call:
                    self.given[frame, node.name, number] = call
                return NodeOutput(frame, node, number)
        raise Malformed("graphdef/endless", "the graph's nodes pass one value on without end")

    def called(self, frame: Frame, node: GraphNode) -> Frame | None:
        """Return the body that a node calls; None where it calls none that is known."""
        name = node.function("f") if node.op in _CALLS else node.op
        if name not in self._data:
            return None
        found = self._frames.get((frame, node.name))
        if found is None:
            function = self._function(name)
            arguments = dict(zip(function.inputs, node.inputs, strict=False))
            found = Frame(function.nodes, arguments, frame, function.results)
            if found.depth > _DEEPEST or len(self._frames) >= _MOST_FRAMES:
                raise Malformed("graphdef/too-deep", "the graph's functions call each other without end")
            self._frames[frame, node.name] = found
        return found

    def _function(self, name: str) -> GraphFunction:
        if name not in self._functions:
            self._functions[name] = GraphFunction(self._data[name])
        return self._functions[name]

    def _number(self, node: GraphNode, rest: str) -> int:
        """Return the number of an output that is spelt ``2``, or in a function ``name:2``."""
        name, _, number = rest.rpartition(":")
        if not number:
            return 0
        if not number.isdecimal() or len(number) > 6:
            raise Malformed("graphdef/bad-output", "an output has no number", found=printable(rest))
        if node.op in self._data:
            outputs = self._function(node.op).outputs
            return outputs.index(name) if name in outputs else int(number)
        if node.op.startswith("FusedBatchNorm") and name not in ("", "y"):
            return int(number) + 1
        return int(number)

    def inputs(self, output: NodeOutput) -> Iterator[NodeOutput]:
        """Yield what a node takes."""
        for spelt in output.node.inputs:
            yield self.source(output.frame, spelt)


def _truncates(node: GraphNode) -> bool:
    """Whether a cast takes fractions away."""
    return node.type_number("SrcT") in _FLOATS and node.type_number("DstT") not in _FLOATS


def _at(values: tuple[str, ...], number: int, node: GraphNode) -> str:
    if number >= len(values) or not values[number]:
        raise Malformed("graphdef/bad-output", "a node has no such output", found=printable(node.name))
    return values[number]
