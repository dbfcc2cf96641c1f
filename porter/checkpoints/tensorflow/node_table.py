"""The nodes of a graph by name, each of them read when it is first asked for.

A SavedModel holds its network several times, to serve, to train and to restore it. A port follows one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from porter.checkpoints.tensorflow.graph_nodes import GraphNode, parse_node
from porter.checkpoints.tensorflow.trackable_graph import text
from porter.errors import printable
from porter.formats.malformed import Malformed
from porter.formats.protobuf import Buffer, fields

MOST_NODES = 1_000_000
_NAME = 0x0A
_SHORT = 0x80
_SMALL = 1 << 16


class NodeTable(Mapping[str, GraphNode]):
    """Nodes by name.

    Args:
        messages: The bytes of each NodeDef.

    Raises:
        Malformed: two nodes have one name, or there are implausibly many.
    """

    def __init__(self, messages: Iterable[Buffer]) -> None:
        """Read the names."""
        self._messages: dict[str, Buffer] = {}
        self._read: dict[str, GraphNode] = {}
        for message in messages:
            name = _name(message)
            if name in self._messages:
                raise Malformed("graphdef/duplicate-node", "two nodes have one name", found=printable(name))
            self._messages[name] = message
            if len(self._messages) > MOST_NODES:
                raise Malformed("graphdef/too-many-nodes", f"the graph has more than {MOST_NODES} nodes")

    def __getitem__(self, name: str) -> GraphNode:
        """Return a node.

        Raises:
            KeyError: there is none of this name.
            Malformed: it is damaged.
        """
        found = self._read.get(name)
        if found is None:
            message = self._messages[name]
            # Bytes are quicker to take apart than views; a large node is a constant, and is not copied.
            found = self._read[name] = parse_node(bytes(message) if len(message) < _SMALL else message)
        return found

    def __contains__(self, name: object) -> bool:
        """Whether there is a node of this name."""
        return name in self._messages

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in the order of the graph."""
        return iter(self._messages)

    def __len__(self) -> int:
        """Return how many nodes there are."""
        return len(self._messages)


def _name(message: Buffer) -> str:
    """Return the name in a NodeDef, which is written first and is short nearly always."""
    if len(message) > 1 and message[0] == _NAME and message[1] < _SHORT:
        end = 2 + message[1]
        if end <= len(message):
            return text(message[2:end])
    return next((text(value) for tag, value in fields(message) if tag == _NAME), "")
