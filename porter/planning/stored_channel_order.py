"""The order of colours that a network takes, where the source's own layers tell it."""

from __future__ import annotations

from dataclasses import replace

from porter.core.checkpoint import Checkpoint
from porter.core.stored_preprocessing import ChannelReversal
from porter.planning.recognition import Recognised
from porter.planning.stored_images import stored_images

_AS_THEY_COME = (
    "the source prepares its own images and turns no colours round: the network takes them as they come, "
    "which is RGB as TensorFlow reads files, although {name} as published takes BGR"
)


def in_stored_order(checkpoint: Checkpoint, match: Recognised) -> Recognised:
    """Return the match with the order of colours that the source's preparation of RGB images leaves.

    It is the table's where nothing in the source prepares images, or something does that is not understood.

    Args:
        checkpoint: The source.
        match: The network in it.
    """
    stored, spec = stored_images(checkpoint), match.variant.input
    if not stored.steps or stored.unread:
        return match
    reversals = sum(isinstance(step, ChannelReversal) for step in stored.steps)
    order = "bgr" if reversals % 2 else "rgb"
    if order == spec.channel_order:
        return match
    note = () if reversals else (_AS_THEY_COME.format(name=match.variant.name),)
    variant = replace(match.variant, input=spec._replace(channel_order=order))
    return match._replace(variant=variant, notes=(*match.notes, *note))
