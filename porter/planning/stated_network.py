"""What the source says of its own network: the head on a known backbone, and all that a table also says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from porter.core.checkpoint import Checkpoint
from porter.planning.network.findings import NO_NETWORK, NetworkFindings, ending_notes, unread
from porter.planning.recognition import Recognised

if TYPE_CHECKING:  # most checkpoints store no network, and need none of it
    from porter.planning.own_head import OwnHead

_SEVERAL = (
    "the source returns {count} outputs ({names}): the ported network returns them as a tuple in this order, "
    "each with the activation that ends it"
)


def stated_head(checkpoint: Checkpoint, match: Recognised) -> OwnHead | None:
    """Return the network with the head that the source states; None if it states none beside the table's."""
    if checkpoint.stored_network is None:
        return None
    from porter.planning.own_head import own_head  # noqa: PLC0415

    return own_head(checkpoint, match)


def compared(checkpoint: Checkpoint, match: Recognised, head: OwnHead | None) -> NetworkFindings:
    """Hold what the source says of the recognised network against the table's.

    Args:
        checkpoint: The source.
        match: What the table knows of it: without `head`, of which no table says anything.
        head: The source's own head, whose activation is what ends the whole network.

    Raises:
        PlanError: a layer computes something else (``plan/other-network``).
    """
    found = _compared(checkpoint, match, own_head=head is not None)
    if head is None:
        return found if found.is_compared else _with_tables_activation(found, match)
    line = f"{found.line}, and a head of its own: {head.words}"
    ending = ending_notes(head.activation)
    if len(head.outputs) > 1:
        ending = (_SEVERAL.format(count=len(head.outputs), names=", ".join(head.outputs)),)
    notes = (*found.notes, *ending)
    return found._replace(line=line, classifier_activation=head.activation, notes=notes)


def _with_tables_activation(found: NetworkFindings, match: Recognised) -> NetworkFindings:
    """Say what follows the classifier as the table does, if the checkpoint has a classifier."""
    activation = match.variant.classifier_activation
    if activation is None or any(part.name not in match.nodes for part in match.variant.parts):
        return found
    notes = (*found.notes, *ending_notes(activation))
    return found._replace(classifier_activation=activation, notes=notes)


def _compared(checkpoint: Checkpoint, match: Recognised, *, own_head: bool) -> NetworkFindings:
    if checkpoint.training is not None:
        from porter.planning.network.settings import hold_settings  # noqa: PLC0415

        return hold_settings(checkpoint.training, match)
    if checkpoint.unread_network:
        return unread(checkpoint.unread_network)
    if checkpoint.stored_network is None:
        return NO_NETWORK
    from porter.planning.network.compare_network import compare_network  # noqa: PLC0415

    return compare_network(checkpoint, checkpoint.stored_network, match, own_head=own_head)
