"""Gives the layers of a Keras file the edges that a table expects, if the file tells only their order.

A ``.weights.h5`` without a config groups layers by class and numbers them within a class; a legacy ``.h5``
calls the parts of a block ``conv2d_17``. Neither number means anything outside the process that wrote it.
What they do tell is an order: of two layers that hold variables of the same names and as many axes, the one
that comes first in the file comes first in the model (`porter.core.object_graph.Node.anonymous`). The k-th
layer of a kind in the table is the k-th of that kind in the file, and shapes are checked afterwards as for
any other source.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence

from porter.core.checkpoint import Array, Checkpoint, TensorSpec
from porter.core.object_graph import Node, ObjectGraph

_ANYTHING = "*"
_RANDOM_STATE = "seed_generator"

Paths = Mapping[str, int]
"""Paths in a table's order, each with how many axes its variable has there."""

Edges = dict[int, dict[str, int]]
"""New edges by node."""


class Arranged(Checkpoint):
    """A checkpoint seen through another object graph."""

    specs: Mapping[str, TensorSpec]

    def __init__(self, inner: Checkpoint, graph: ObjectGraph) -> None:
        self.path, self.format, self.files, self.specs = inner.path, inner.format, inner.files, inner.specs
        self.graph, self.stored_input = graph, inner.stored_input
        self.frozen_in_part, self.assumed_order = inner.frozen_in_part, inner.assumed_order
        self.read_network = lambda: inner.unread_network or inner.stored_network
        self.numbered_state = inner.numbered_state
        self.unplaced_averages = inner.unplaced_averages
        self._inner = inner

    def read(self, key: str) -> Array:
        """Read from the checkpoint itself."""
        return self._inner.read(key)

    def verify(self, key: str) -> None:
        """Verify in the checkpoint itself."""
        self._inner.verify(key)

    def read_block(self, key: str, block: tuple[slice, ...]) -> Array:
        """Read from the checkpoint itself."""
        return self._inner.read_block(key, block)

    def close(self) -> None:
        """Close the checkpoint itself."""
        self._inner.close()


def arranged(checkpoint: Checkpoint, *wanted: Paths) -> Checkpoint:
    """Return the checkpoint with edges for the paths of a table, or unchanged if they do not fit.

    Args:
        checkpoint: The source.
        *wanted: Object paths in the table's order, each with how many axes its variable has; each is tried
            from every node whose children have no names of their own. ``path/*`` stands for an object that is
            left out with all that it holds.
    """
    graph = checkpoint.graph
    anonymous = [number for number, node in enumerate(graph.nodes) if node.anonymous]
    if not anonymous:
        return checkpoint
    fitting = _Fitting(checkpoint)
    added: Edges = {}
    for paths in wanted:
        for number in anonymous:
            for owner, edges in (fitting.fit(number, paths) or {}).items():
                added.setdefault(owner, {}).update(edges)
    if not added:
        return checkpoint
    nodes = [
        Node({**node.children, **added.get(number, {})}, node.key, node.full_name, node.slots, node.anonymous)
        for number, node in enumerate(graph.nodes)
    ]
    _give_lists_nodes(nodes)
    return Arranged(checkpoint, ObjectGraph(nodes, stored=graph.stored, origin=graph.origin))


def _give_lists_nodes(nodes: list[Node]) -> None:
    """Turn each edge ``layers/3`` into the two that TensorFlow has, to the list and on to its layer."""
    for node in list(nodes):
        for edge in [edge for edge in node.children if "/" in edge]:
            name, _, position = edge.partition("/")
            if name not in node.children:
                node.children[name] = len(nodes)
                nodes.append(Node())
            nodes[node.children[name]].children[position] = node.children.pop(edge)


class _Fitting:
    def __init__(self, checkpoint: Checkpoint) -> None:
        self._graph, self._specs = checkpoint.graph, checkpoint.specs
        self._counts: dict[int, int] = {}

    def fit(self, number: int, paths: Paths, *, is_strict: bool = False) -> Edges | None:
        """Return the edges by which node `number` has every one of `paths`, or None if it cannot.

        Children that hold exactly what is wanted below one edge are taken in order, before others those with
        the number of axes that a table has there: a dense layer may stand for a 1x1 convolution, but not
        where there is a convolution. No other part of a shape is looked at: a wrong order must end in a
        mismatch, and not in a search for one that happens to fit.
        """
        node = self._graph.nodes[number]
        if not node.anonymous:
            fits = all(
                self._is_variable(path, axes if is_strict else 0, number) for path, axes in paths.items()
            )
            return {} if fits else None
        found: Edges = {number: {}}
        free = list(node.anonymous)
        groups = _grouped(paths, node.children)
        left_out = [edge for edge, below in groups.items() if list(below) == [_ANYTHING]]
        for edge in (edge for edge in groups if edge not in left_out):
            known = node.children.get(edge)
            chosen = self._first(free if known is None else [known], groups[edge], is_strict=is_strict)
            if chosen is None:
                return None
            child, inner = chosen
            found.update(inner)
            found[number][edge] = child
            free = [other for other in free if other != child]
        if len(free) == len(left_out):  # a head of another network may be free too: then nothing says which
            found[number].update(zip(left_out, free, strict=True))
        return found

    def _first(self, candidates: Sequence[int], paths: Paths, *, is_strict: bool) -> tuple[int, Edges] | None:
        """Return the first of the nodes that hold these variables and no others, and the edges below it."""
        whole = [child for child in candidates if self._count(child) == len(paths)]
        for strictness in (True,) if is_strict else (True, False):
            for child in whole:
                inner = self.fit(child, paths, is_strict=strictness)
                if inner is not None:
                    return child, inner
        return None

    def _is_variable(self, path: str, axes: int, start: int) -> bool:
        """Whether a path leads to a variable with so many axes; with any number of them if that is 0."""
        node = self._graph.resolve(path, start)
        key = None if node is None else self._graph.nodes[node].key
        return key is not None and axes in (0, len(self._specs[key].shape))

    def _count(self, number: int) -> int:
        """Return how many variables a node and those below it hold; the state of a dropout is none."""
        if number not in self._counts:
            node = self._graph.nodes[number]
            below = {child for name, child in node.children.items() if name != _RANDOM_STATE}
            self._counts[number] = (node.key is not None) + sum(map(self._count, below))
        return self._counts[number]


def _grouped(paths: Paths, known: Container[str]) -> dict[str, dict[str, int]]:
    """Return what comes below each first edge, layers of a model in the model's order.

    A list of layers is an object of TensorFlow's and nothing that a Keras file knows: unless the edge is
    `known`, each of its layers has an edge of its own, ``layers/3``.
    """
    groups: dict[str, dict[str, int]] = {}
    for path, axes in paths.items():
        edge, _, rest = path.partition("/")
        position, _, below = rest.partition("/")
        if position.isdecimal() and below and edge not in known:
            edge, rest = f"{edge}/{position}", below
        groups.setdefault(edge, {})[rest] = axes
    return dict(sorted(groups.items(), key=lambda group: _number(group[0])))


def _number(edge: str) -> int:
    match = re.fullmatch(r"layer_with_weights-(\d{1,9})", edge)
    return int(match[1]) if match else 0
