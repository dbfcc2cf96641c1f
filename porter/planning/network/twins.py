"""Networks that names and shapes fit alike, told apart by what the source says of its own."""

from __future__ import annotations

from porter.core.checkpoint import Checkpoint
from porter.errors import PlanError
from porter.planning.network.compare_network import compare_network
from porter.planning.recognition import Recognised, recognise
from porter.tables.known_tables import Tables


def told_apart(checkpoint: Checkpoint, tables: Tables, match: Recognised) -> Recognised:
    """Return the one of a match and its twins that the source's own network is; the match where none is.

    Args:
        checkpoint: A source that describes its network.
        tables: Known networks.
        match: What was recognised.
    """
    network = checkpoint.stored_network
    if network is None:
        return match
    possible = []
    for variant in (match.variant, *match.twins):
        found = recognise(checkpoint, tables, variant.name)
        try:
            compare_network(checkpoint, network, found)
        except PlanError:
            continue
        possible.append(found)
    return possible[0] if len(possible) == 1 else match
