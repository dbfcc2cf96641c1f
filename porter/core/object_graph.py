"""The graph of tracked objects that TensorFlow stores with a checkpoint, walked by object path."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

# What tf.train.ExponentialMovingAverage of TensorFlow 1 adds to the name of a variable.
TF1_AVERAGE = "ExponentialMovingAverage"


class Slot(NamedTuple):
    """An optimizer's per-variable state, e.g. momentum, or the moving average of the variable itself."""

    name: str
    original: int
    variable: int


class Node:
    """One tracked object.

    Attributes:
        children: Edge name to node index.
        key: Checkpoint key of the variable this object holds, or None.
        full_name: The variable's TensorFlow name when it was saved (``"conv2d/kernel"``), or "".
        slots: Slot variables, present on optimizer nodes only.
        anonymous: Children that TensorFlow would know by an edge that this source does not tell, in an order
            in which those that hold variables of the same names follow each other as in the model. Sources
            that TensorFlow wrote have none; Keras files without a config do.
    """

    __slots__ = ("anonymous", "children", "full_name", "key", "slots")

    def __init__(
        self,
        children: dict[str, int] | None = None,
        key: str | None = None,
        full_name: str = "",
        slots: tuple[Slot, ...] = (),
        anonymous: tuple[int, ...] = (),
    ) -> None:
        self.children = {} if children is None else children
        self.key = key
        self.full_name = full_name
        self.slots = slots
        self.anonymous = anonymous


class ObjectGraph:
    """Tracked objects by index; node 0 is the root. Cycles and shared children are normal.

    Attributes:
        nodes: Every object.
        stored: True when the edges are those of the model's objects, False when made from variable names.
        origin: Where the edges come from, in words.
    """

    def __init__(self, nodes: list[Node], *, stored: bool, origin: str = "") -> None:
        self.nodes = nodes
        self.stored = stored
        self.origin = origin or ("stored object graph" if stored else "none stored: variables by name")

    @classmethod
    def from_names(cls, names: Iterable[str]) -> ObjectGraph:
        """Build a tree from slash-separated variable names (TF1 and name-based checkpoints).

        A variable that is not stored itself, but its moving average is, has the average's key: some
        checkpoints were published with the averages alone.
        """
        nodes = [Node()]
        for name in names:
            index = 0
            for part in name.split("/"):
                child = nodes[index].children.get(part)
                if child is None:
                    child = len(nodes)
                    nodes[index].children[part] = child
                    nodes.append(Node())
                index = child
            nodes[index].key = name
            nodes[index].full_name = name
        for node in nodes:
            average = node.children.get(TF1_AVERAGE)
            if node.key is None and average is not None:
                node.key = nodes[average].key
        return cls(nodes, stored=False)

    def resolve(self, path: str, start: int = 0) -> int | None:
        """Follow `path` (edge names joined by ``/``) from node `start`; None if an edge is missing."""
        index = start
        for part in path.split("/") if path else ():
            child = self.nodes[index].children.get(part)
            if child is None:
                return None
            index = child
        return index

    @cached_property
    def paths(self) -> tuple[str | None, ...]:
        """The shortest path of each node from the root, breadth first; None if unreachable.

        Slot variables are reachable through their optimizer only, so theirs is None.
        """
        found: list[str | None] = [None] * len(self.nodes)
        found[0] = ""
        queue = deque([0])
        while queue:
            index = queue.popleft()
            prefix = found[index]
            for name, child in self.nodes[index].children.items():
                if found[child] is None:
                    found[child] = f"{prefix}/{name}" if prefix else name
                    queue.append(child)
        return tuple(found)

    @cached_property
    def node_of_key(self) -> Mapping[str, int]:
        """Checkpoint key to the node that holds the variable."""
        return {node.key: index for index, node in enumerate(self.nodes) if node.key is not None}

    @cached_property
    def owners(self) -> Mapping[str, list[int]]:
        """Edge name to every node that has such an edge."""
        found: dict[str, list[int]] = {}
        for index, node in enumerate(self.nodes):
            for name in node.children:
                found.setdefault(name, []).append(index)
        return found

    @cached_property
    def _parents(self) -> list[list[tuple[int, str]]]:
        parents: list[list[tuple[int, str]]] = [[] for _ in self.nodes]
        for index, node in enumerate(self.nodes):
            for name, child in node.children.items():
                parents[child].append((index, name))
        return parents

    def aliases(self, node: int) -> list[str]:
        """Every path of `node` that is a shortest path of a parent plus one edge, shortest first."""
        found = []
        for parent, name in self._parents[node]:
            prefix = self.paths[parent]
            if prefix is not None:
                found.append(f"{prefix}/{name}" if prefix else name)
        return sorted(found, key=lambda path: (path.count("/"), path))

    def reachable(self, start: int, *, avoid: frozenset[int] = frozenset()) -> Iterator[int]:
        """Yield every node that can be reached from `start` without entering a node of `avoid`."""
        seen = {start, *avoid}
        queue = deque([start])
        while queue:
            index = queue.popleft()
            yield index
            for child in self.nodes[index].children.values():
                if child not in seen:
                    seen.add(child)
                    queue.append(child)

    @cached_property
    def slots(self) -> Mapping[str, tuple[str, str]]:
        """Key of each slot variable to (key of the variable it belongs to, slot name)."""
        found = {}
        for node in self.nodes:
            for slot in node.slots:
                key, original = self.nodes[slot.variable].key, self.nodes[slot.original].key
                if key is not None and original is not None:
                    found[key] = (original, slot.name)
        return found
