"""How far two networks compute the same, from the image on: for a source that has a part of a network."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from porter.core.stored_network import Operation, StoredNetwork
from porter.planning.network.layer_pairing import own_differences
from porter.planning.network.small_maps import in_form_of

_COMMUTATIVE = ("add", "multiply")

Fits = Callable[[Operation, Operation], bool]
Pairs = Mapping[int, tuple[int, ...]]
"""The source's operations, all with one output, for each of the reference's that it has."""


def common_part(source: StoredNetwork, reference: StoredNetwork, fits: Fits) -> Pairs:
    """Pair the operations of two networks as far as they agree.

    Branches that begin alike, as two 1x1 convolutions of one shape on one map do, are told apart by what
    follows them. What nothing tells apart is not paired, and nothing that depends on it.

    Args:
        source: A network that may end early, or go on with something else.
        reference: The network of a table.
        fits: Whether the variables of an operation of the source may be those of one of the reference.
    """
    candidates = _Candidates(source, reference, fits)
    possible = candidates.from_the_image_on()
    tied = {n for n, found in possible.items() if len(found) > 1 and reference.operations[n].variables}
    if not tied:
        return possible
    narrowed = _narrowed(possible, source.operations, reference.operations)
    return candidates.from_the_image_on({n: narrowed[n] for n in tied})


class _Candidates:
    """Which operations of a source may be those of a reference."""

    def __init__(self, source: StoredNetwork, reference: StoredNetwork, fits: Fits) -> None:
        self._given, self._reference, self._fits = source.operations, reference.operations, fits
        self._users = _users(source)
        self._preparing = tuple(n for n, learned in enumerate(_learned(source)) if not learned)
        self._is_learned = _learned(reference)

    def from_the_image_on(self, narrowed: Pairs | None = None) -> dict[int, tuple[int, ...]]:
        """Return the candidates of each operation of the reference that has any.

        Args:
            narrowed: Fewer candidates of some; one that has several of these has none.
        """
        pairs: dict[int, tuple[int, ...]] = {}
        for number, wanted in enumerate(self._reference):
            if not self._is_learned[number]:
                pairs[number] = self._preparing
            elif all(taken in pairs for taken in wanted.inputs):
                found = tuple(self._alike(wanted, pairs))
                if narrowed is not None and number in narrowed:
                    found = tuple(each for each in found if (each,) == narrowed[number])
                if found:
                    pairs[number] = found
        return pairs

    def _alike(self, wanted: Operation, pairs: Pairs) -> Iterator[int]:
        users = {user for taken in wanted.inputs for each in pairs[taken] for user in self._users[each]}
        for number in sorted(users):
            given = self._given[number]
            if _is_alike(given, wanted, pairs) and self._fits(wanted, given):
                yield number


def _narrowed(pairs: Pairs, given: Sequence[Operation], reference: Sequence[Operation]) -> Pairs:
    """Return the candidates whose users may be those of the reference's operation."""
    narrowed = dict(pairs)
    while True:
        before = dict(narrowed)
        for number in sorted(narrowed, reverse=True):
            wanted = reference[number]
            if wanted.kind not in _COMMUTATIVE:
                taking = [given[each].inputs for each in narrowed[number]]
                for place, taken in enumerate(wanted.inputs):  # what prepares images may take fewer
                    used = {inputs[place] for inputs in taking if place < len(inputs)}
                    narrowed[taken] = _kept(narrowed[taken], used)
        _take_once(narrowed, reference)
        for number, wanted in enumerate(reference):
            if number in narrowed:
                alike = {each for each in narrowed[number] if _is_alike(given[each], wanted, narrowed)}
                narrowed[number] = _kept(narrowed[number], alike)
        if narrowed == before:
            return narrowed


def _take_once(pairs: dict[int, tuple[int, ...]], reference: Sequence[Operation]) -> None:
    """Leave an operation with variables that is the only candidate of one out of the others."""
    owners = {
        found[0]: number for number, found in pairs.items() if len(found) == 1 and reference[number].variables
    }
    for number, found in pairs.items():
        if len(found) > 1 and reference[number].variables:
            pairs[number] = _kept(found, {each for each in found if each not in owners})


def _kept(candidates: tuple[int, ...], wanted: Collection[int]) -> tuple[int, ...]:
    """Return the candidates that are wanted; all of them if none is."""
    return tuple(each for each in candidates if each in wanted) or candidates


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
    given = in_form_of(given, wanted)
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
