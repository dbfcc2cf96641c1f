"""What lies between two operations of a network, as chains that fork and are joined again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from porter.core.head import JOINS
from porter.core.stored_network import Operation
from porter.planning.network.head_steps import Joined, Node, UnstatableError


def nodes_between(operations: Sequence[Operation], start: int, end: int) -> list[Node]:
    """Return what leads from one operation to another, without the first; nothing if they are one.

    Args:
        operations: Of a network.
        start: Number of an operation on which everything that `end` takes depends.
        end: Number of the last operation.

    Raises:
        UnstatableError: something else leads there too, or an operation takes several tensors and is no join.
    """
    found: list[Node] = []
    number = end
    while number != start:
        operation = operations[number]
        if number < start or not operation.inputs:
            raise UnstatableError(operation)
        if len(operation.inputs) == 1:
            found.append(operation)
            number = operation.inputs[0]
        elif operation.kind in JOINS:
            fork = common_source(operations, operation.inputs, start)
            branches = tuple(tuple(nodes_between(operations, fork, each)) for each in operation.inputs)
            found.append(Joined(operation, branches))
            number = fork
        else:
            raise UnstatableError(operation)
    return found[::-1]


def common_source(operations: Sequence[Operation], ends: Collection[int], start: int) -> int:
    """Return the last operation that all paths from `start` to some others go through.

    Raises:
        UnstatableError: something that `start` does not lead to leads there too.
    """
    open_ends = {*ends}
    while len(open_ends) > 1:
        last = max(open_ends)
        if last <= start or not operations[last].inputs:
            raise UnstatableError(operations[last])
        open_ends = open_ends - {last} | {*operations[last].inputs}
    (found,) = open_ends
    if found < start:
        raise UnstatableError(operations[max(ends)])
    return found


def operations_of(nodes: Iterable[Node]) -> Iterator[Operation]:
    """Yield the operations, those in front of a join before it."""
    for node in nodes:
        if isinstance(node, Joined):
            for branch in node.branches:
                yield from operations_of(branch)
            yield node.operation
        else:
            yield node
