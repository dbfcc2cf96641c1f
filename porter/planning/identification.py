"""Which network is in a source: by the names of its variables, or by what it computes where it has none."""

from __future__ import annotations

from porter.core.checkpoint import Checkpoint
from porter.core.folded_checkpoint import FoldedCheckpoint
from porter.errors import PlanError
from porter.planning.recognition import Recognised, recognise
from porter.tables.known_tables import Tables

_UNKNOWN = ("plan/no-match", "plan/unknown-network")
_OTHER = "plan/other-network"
_COUNTED = "layer_with_weights-"


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
        return _by_structure(checkpoint, tables, variant)
    try:
        match = recognise(checkpoint, tables, variant)
    except PlanError as refusal:
        found = _without_names(checkpoint, tables, variant, refusal.code)
        if found is None:
            raise
        return found
    if checkpoint.stored_network is None:
        return match
    match = _with_ending(checkpoint, _dilated(checkpoint, match))
    if variant is None and _is_counted(checkpoint):
        match = _settled(checkpoint, tables, match)
    if not match.twins:
        return match
    from porter.planning.network.twins import told_apart  # noqa: PLC0415  (most have none)

    return told_apart(checkpoint, tables, match)


def _by_structure(checkpoint: FoldedCheckpoint, tables: Tables, variant: str | None) -> Recognised:
    """Return the network, or the first part of one, that a source computes which names no layers."""
    from porter.planning.network.by_structure import recognise_by_structure, see_as_table  # noqa: PLC0415  (few)

    try:
        return _with_ending(checkpoint, recognise_by_structure(checkpoint, tables, variant))
    except PlanError as refusal:
        found = _without_names(checkpoint, tables, variant, refusal.code)
        if found is None:
            raise
    see_as_table(checkpoint, found)
    return found


def _dilated(checkpoint: Checkpoint, match: Recognised) -> Recognised:
    """Return the match with the output stride that the source has, if that is not the network's own."""
    from porter.planning.network.dilation import dilated_forms, note_of  # noqa: PLC0415  (few)

    for variant in dilated_forms(checkpoint, match.variant):
        from porter.planning.network.compare_network import computes_backbone  # noqa: PLC0415

        if computes_backbone(checkpoint, match._replace(variant=variant)):
            return match._replace(variant=variant, notes=(*match.notes, *note_of(variant)))
    return match


def _with_ending(checkpoint: Checkpoint, match: Recognised) -> Recognised:
    """Return the match with where the source leaves the backbone, if that is not at its own end."""
    from porter.planning.network.canonical import canonical  # noqa: PLC0415  (not of weights alone)
    from porter.planning.network.early_end import ends_early  # noqa: PLC0415

    assert checkpoint.stored_network is not None  # noqa: S101 (the caller has asked)
    source = canonical(checkpoint.stored_network)
    if isinstance(checkpoint, FoldedCheckpoint):
        from porter.planning.network.folded_form import with_affine_norms  # noqa: PLC0415  (few)

        source = with_affine_norms(source)
    has_several = len(set(source.outputs)) > 1 and not source.is_graph
    if not has_several and not ends_early(source, match):
        return match
    from porter.planning.cut_backbone import with_ending  # noqa: PLC0415  (few)

    found = with_ending(checkpoint, match, source)
    return match if has_several and found.ending is not None and found.ending.tail else found


def _without_names(
    checkpoint: Checkpoint, tables: Tables, variant: str | None, code: str
) -> Recognised | None:
    """Return what names do not tell: a first part, or the network that `variant` says it is."""
    if code in _UNKNOWN:
        from porter.planning.cut_backbone import cut_backbone  # noqa: PLC0415  (most are whole)

        return cut_backbone(checkpoint, tables, variant)
    if code != _OTHER or variant is None or not _is_counted(checkpoint):
        return None
    from porter.planning.whole_network import whole_network  # noqa: PLC0415  (few)

    return whole_network(checkpoint, tables.variant(variant))


def _is_counted(checkpoint: Checkpoint) -> bool:
    """Whether porter numbered the layers of a source that stores neither objects nor their names."""
    network, graph = checkpoint.stored_network, checkpoint.graph
    counted = any(name.startswith(_COUNTED) for name in graph.nodes[0].children)
    return network is not None and network.is_graph and not graph.stored and counted


def _settled(checkpoint: Checkpoint, tables: Tables, match: Recognised) -> Recognised:
    from porter.planning.whole_network import settled  # noqa: PLC0415  (frozen graphs alone)

    return settled(checkpoint, tables, match)
