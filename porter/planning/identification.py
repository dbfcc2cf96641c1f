"""Which network is in a source: by the names of its variables, or by what it computes where it has none."""

from __future__ import annotations

from porter.core.checkpoint import Checkpoint
from porter.core.folded_checkpoint import FoldedCheckpoint
from porter.planning.recognition import Recognised, recognise
from porter.tables.known_tables import Tables


def identify(checkpoint: Checkpoint, tables: Tables, variant: str | None = None) -> Recognised:
    """Find the one network of `tables` that the checkpoint holds.

    Args:
        checkpoint: The source.
        tables: Known networks.
        variant: Try this one only.

    Raises:
        PlanError: no network fits, another than `variant` does, more than one does, or one is there twice.
        TableError: `variant` is not known.
    """
    if isinstance(checkpoint, FoldedCheckpoint):
        from porter.planning.network.by_structure import recognise_by_structure  # noqa: PLC0415  (few)

        return recognise_by_structure(checkpoint, tables, variant)
    match = recognise(checkpoint, tables, variant)
    if not match.twins or checkpoint.stored_network is None:
        return match
    from porter.planning.network.twins import told_apart  # noqa: PLC0415  (most have none)

    return told_apart(checkpoint, tables, match)
