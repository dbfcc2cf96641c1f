"""A source's network with its variables called as a table calls them."""

from __future__ import annotations

from collections.abc import Mapping

from porter.core.stored_network import StoredNetwork
from porter.planning.recognition import Recognised


def names_of(match: Recognised) -> Mapping[str, str]:
    """Return the table's path of each variable that was found, by its key."""
    return {
        key: match.variant.full_source(entry)
        for entry, key in zip(match.variant.entries, match.keys, strict=True)
        if key is not None
    }


def named(network: StoredNetwork, names: Mapping[str, str]) -> StoredNetwork:
    """Return the network with its variables called as the table calls them, and without others."""
    return network._replace(
        operations=tuple(
            operation._replace(
                variables={role: names[key] for role, key in operation.variables.items() if key in names}
                or ({"": f"not in the table: {operation.name}"} if operation.variables else {})
            )
            for operation in network.operations
        )
    )
