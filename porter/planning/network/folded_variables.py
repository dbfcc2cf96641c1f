"""Which variables of a table's layer the layer of a source has whose norms are part of its convolutions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from porter.core.stored_network import plain_role
from porter.planning.network.folded_form import NORM, SCALE
from porter.tables.variants import Entry

_KERNEL, _BIAS = "kernel", "bias"
_KERNEL_RANK, _DENSE_RANK = 4, 2
_PIXEL = (1, 1)


def alike(wanted: Mapping[str, str], given: Mapping[str, str]) -> bool:
    """Whether a layer of the table has what the source's has: a kernel, weights of a norm, or nothing."""
    if _KERNEL in given or _has_kernel(wanted):
        return _KERNEL in given and _has_kernel(wanted)
    return {*given} <= {plain_role(role) for role in wanted} and bool(given) == bool(wanted)


def _has_kernel(roles: Iterable[str]) -> bool:
    return any(role.endswith(_KERNEL) for role in roles)


def shared_keys(wanted: Mapping[str, str], given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the table's path and the source's key of a kernel, and of what is added behind it."""
    added = _added(wanted)
    for role, path in wanted.items():
        if _KERNEL not in given:
            if plain_role(role) in given:
                yield path, given[plain_role(role)]
        elif role.endswith(_KERNEL):
            yield path, given[_KERNEL]
        elif role == added and _BIAS in given:
            yield path, given[_BIAS]


def untaken(wanted: Mapping[str, str], given: Mapping[str, str]) -> Iterator[str]:
    """Yield the key of a bias that the table's layer has not."""
    if _KERNEL in given and _BIAS in given and _added(wanted) not in wanted:
        yield given[_BIAS]


def filled_roles(wanted: Mapping[str, str], given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the table's path and the role of each variable that the source has no values for."""
    added = _added(wanted)
    for role, path in wanted.items():
        if _KERNEL not in given:
            if plain_role(role) not in given:
                yield path, plain_role(role)
        elif role == added and _BIAS not in given:
            yield path, _BIAS
        elif role.startswith((NORM, SCALE)) and role != added:
            yield path, role.rpartition("/")[2]


def _added(wanted: Mapping[str, str]) -> str:
    """Return the role of what is added last: a norm's shift, or the layer's own bias."""
    return f"{NORM}beta" if any(role.startswith(NORM) for role in wanted) else _BIAS


def seen_shape(shape: tuple[int, ...], entry: Entry) -> tuple[int, ...]:
    """Return a kernel's shape as the table has it, if it is a 1x1 convolution here and dense there."""
    rank = len(entry.source_shape)
    if len(shape) == _KERNEL_RANK and rank == _DENSE_RANK and shape[:2] == _PIXEL:
        return shape[2:]
    return (*_PIXEL, *shape) if len(shape) == _DENSE_RANK and rank == _KERNEL_RANK else shape
