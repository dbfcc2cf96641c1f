"""How far two networks compute the same, from the image on: for a source that has a part of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from porter.core.stored_network import Operation, StoredNetwork
from porter.planning.network.layer_pairing import own_differences

_COMMUTATIVE = ("add", "multiply")

Fits = Callable[[Operation, Operation], bool]
Pairs = Mapping[int, tuple[int, ...]]
"""The source's operations, all with one output, for each of the reference's that it has."""


def common_part(source: StoredNetwork, reference: StoredNetwork, fits: Fits) -> Pairs:
    """Pair the operations of two networks as far as they agree.

    Args:
        source: A network that may end early, or go on with something else.
        reference: The network of a table.
        fits: Whether the variables of an operation of the source may be those of one of the reference.
    """
    given, users = source.operations, _users(source)
    preparing = tuple(n for n, learned in enumerate(_learned(source)) if not learned)
    prepared = _learned(reference)
    pairs: dict[int, tuple[int, ...]] = {}
    for number, wanted in enumerate(reference.operations):
        if not prepared[number]:
            pairs[number] = preparing
            continue
        if not all(taken in pairs for taken in wanted.inputs):
            continue
        candidates = {user for taken in wanted.inputs for each in pairs[taken] for user in users[each]}
        alike = [n for n in sorted(candidates) if _is_alike(given[n], wanted, pairs)]
        found = [n for n in alike if fits(wanted, given[n])]
        if found and (len(found) == 1 or not wanted.variables):
            pairs[number] = tuple(found)
    return pairs


def _users(network: StoredNetwork) -> Sequence[list[int]]:
    found: list[list[int]] = [[] for _ in network.operations]
    for number, operation in enumerate(network.operations):
        for taken in operation.inputs:
            found[taken].append(number)
    return found


def _learned(network: StoredNetwork) -> list[bool]:
    """Return of each operation whether it, or one that it depends on, has variables."""
    found: list[bool] = []
    for operation in network.operations:
        found.append(bool(operation.variables) or any(found[taken] for taken in operation.inputs))
    return found


def _is_alike(given: Operation, wanted: Operation, pairs: Pairs) -> bool:
    if given.kind != wanted.kind or len(given.inputs) != len(wanted.inputs):
        return False
    if bool(given.variables) != bool(wanted.variables):
        return False
    orders = (given.inputs, given.inputs[::-1]) if wanted.kind in _COMMUTATIVE else (given.inputs,)
    takes = any(
        all(taken in pairs[other] for taken, other in zip(order, wanted.inputs, strict=True))
        for order in orders
    )
    return takes and not any(own_differences(given, wanted))
