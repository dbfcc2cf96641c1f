"""Pairs the operations of two networks by what they compute alone, without a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from porter.core.stored_network import Operation, StoredNetwork

_COMMUTATIVE = ("add", "multiply")
_STEPS = {"strides": (1, 1), "dilation": (1, 1)}
_MOVES = ("strides", "dilation", "groups", "size", "axis")


class Structures:
    """Gives equal numbers to outputs that are computed alike, in however many networks are asked about."""

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}

    def of(self, network: StoredNetwork) -> tuple[int, ...]:
        """Return the number of each operation's output: of the kinds and moves of all that it depends on."""
        found: list[int] = []
        for operation in network.operations:
            inputs = [found[number] for number in operation.inputs]
            if operation.kind in _COMMUTATIVE:
                inputs.sort()
            kind = "conv" if operation.kind == "dense" else operation.kind  # one and the same on one pixel
            described = (kind, _moves(operation), tuple(inputs))
            found.append(self._numbers.setdefault(described, len(self._numbers)))
        return tuple(found)


def _moves(operation: Operation) -> str:
    if operation.kind == "input":
        return ""
    moves = {name: _plain(operation.attributes[name]) for name in _MOVES if name in operation.attributes}
    if operation.kind == "dense":
        moves = {**_STEPS, **moves}
    if moves.get("groups") == 1:
        del moves["groups"]
    return repr(moves)


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, list | tuple) else value


def paired(
    source: StoredNetwork,
    reference: StoredNetwork,
    structures: tuple[Sequence[int], Sequence[int]],
    ends: tuple[int, int],
) -> Mapping[int, int] | None:
    """Return the source's operation for each one that the reference's end depends on.

    None if two operations that are added or multiplied have one structure, so that nothing tells which is
    which, or if an operation would stand for two.

    Args:
        source: A network.
        reference: One that is computed alike.
        structures: What `Structures.of` says of both.
        ends: An operation of each, with equal structures.
    """
    found: dict[int, int] = {}
    waiting = [ends]
    while waiting:
        given, wanted = waiting.pop()
        if wanted in found:
            if found[wanted] != given:
                return None
            continue
        found[wanted] = given
        pairs = _inputs(source.operations[given], reference.operations[wanted], structures)
        if pairs is None:
            return None
        waiting.extend(pairs)
    return found if len(set(found.values())) == len(found) else None


def _inputs(
    given: Operation, wanted: Operation, structures: tuple[Sequence[int], Sequence[int]]
) -> list[tuple[int, int]] | None:
    """Return which inputs of two operations belong together."""
    if wanted.kind not in _COMMUTATIVE:
        return list(zip(given.inputs, wanted.inputs, strict=True))
    ours, theirs = structures
    by_structure = {ours[number]: number for number in given.inputs}
    if len(by_structure) != len(set(given.inputs)):
        return None
    return [(by_structure[theirs[number]], number) for number in wanted.inputs]
