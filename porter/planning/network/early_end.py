"""Whether a source ends, or goes on with layers of its own, before the backbone of a network does."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import takewhile

from porter.core.stored_network import Operation, StoredNetwork
from porter.planning.network.layer_pairing import POOLS, tail
from porter.planning.network.record import recorded
from porter.planning.network.small_maps import AS_POOL, in_form_of
from porter.planning.recognition import Recognised

_PLAIN = ("flatten", "reshape")


def ends_early(source: StoredNetwork, match: Recognised) -> bool:
    """Whether the source leaves out what the network does behind the last variables of its backbone.

    That is an activation or a pool of maps: a backbone that is cut at a norm, or in front of its last pool.

    Args:
        source: The source's network in its canonical form.
        match: The network in it.
    """
    names = {
        match.variant.full_source(entry): key
        for entry, key in zip(match.variant.entries, match.keys, strict=True)
        if key is not None and entry.part in {part.name for part in match.variant.backbone_parts}
    }
    given = following(source, names.values())
    reference = recorded(match.variant)
    wanted = None if reference is None else following(reference, names)
    return given is not None and wanted is not None and _is_shorter(given, wanted)


def following(network: StoredNetwork, variables: Collection[str]) -> list[Operation] | None:
    """Return what a network does behind the last of some variables, up to its pool or next layer; or None."""
    last = last_with(network, variables)
    return None if last is None else list(takewhile(_is_of_maps, tail(network.operations, last)))


def last_with(network: StoredNetwork, variables: Collection[str]) -> int | None:
    """Return the last operation that holds one of some variables; None if none does."""
    wanted = frozenset(variables)
    listed = (n for n, o in enumerate(network.operations) if not wanted.isdisjoint(o.variables.values()))
    return max(listed, default=None)


def _is_of_maps(operation: Operation) -> bool:
    is_global = operation.kind in POOLS and AS_POOL not in operation.attributes
    return not (is_global or operation.kind in _PLAIN or operation.variables)


def _is_shorter(given: Sequence[Operation], wanted: Sequence[Operation]) -> bool:
    kinds = [operation.kind for operation in map(in_form_of, given, wanted)]
    return kinds != [operation.kind for operation in wanted]
