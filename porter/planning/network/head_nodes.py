"""What lies between two operations of a network, as chains that fork and are joined again."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Sequence

from porter.core.head import JOINS, MOST_NESTED
from porter.core.stored_network import Operation
from porter.planning.network.head_steps import Joined, Node, UnstatableError


def nodes_between(operations: Sequence[Operation], start: int, end: int, depth: int = 0) -> list[Node]:
    """Return what leads from one operation to another, without the first; nothing if they are one.

    Args:
        operations: Of a network.
        start: Number of an operation on which everything that `end` takes depends.
        end: Number of the last operation.
        depth: Within how many joins this lies.

    Raises:
        UnstatableError: something else leads there too, an operation takes several tensors and is no join, or
            branches share operations.
    """
    found: list[Node] = []
    number = end
    while number != start:
        operation = operations[number]
        if number < start or not operation.inputs or depth > MOST_NESTED:
            raise UnstatableError(operation)
        if len(operation.inputs) == 1:
            found.append(operation)
            number = operation.inputs[0]
        elif operation.kind in JOINS:
            fork = common_source(operations, operation.inputs, start)
            _require_apart(operations, fork, operation)
            branches = (nodes_between(operations, fork, each, depth + 1) for each in operation.inputs)
            found.append(Joined(operation, tuple(map(tuple, branches))))
            number = fork
        else:
            raise UnstatableError(operation)
    return found[::-1]


def common_source(operations: Sequence[Operation], ends: Collection[int], start: int) -> int:
    """Return the last operation that all paths from `start` to some others go through.

    Raises:
        UnstatableError: something that `start` does not lead to leads there too.
    """
    waiting = [-number for number in {*ends}]  # the heap gives its smallest: the largest number
    heapq.heapify(waiting)
    seen = {*ends}
    while len(waiting) > 1:
        last = -heapq.heappop(waiting)
        if last <= start or not operations[last].inputs:
            raise UnstatableError(operations[last])
        for taken in {*operations[last].inputs} - seen:
            seen.add(taken)
            heapq.heappush(waiting, -taken)
    found = -waiting[0]
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


def _require_apart(operations: Sequence[Operation], fork: int, join: Operation) -> None:
    """Require that no two branches share an operation: each way through them would be another branch."""
    taken: set[int] = set()
    for end in join.inputs:
        own = _reached(operations, fork, end)
        if taken & own:
            raise UnstatableError(operations[max(taken & own)], "leads to several branches")
        taken |= own


def _reached(operations: Sequence[Operation], fork: int, end: int) -> set[int]:
    found: set[int] = set()
    waiting = [end] if end != fork else []
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            waiting += [taken for taken in operations[number].inputs if taken != fork]
    return found
