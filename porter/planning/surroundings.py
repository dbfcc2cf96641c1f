"""What stands around a backbone and is no part of its port: which layer, and what can be done."""

from __future__ import annotations

from porter.core.checkpoint import Checkpoint
from porter.planning.recognition import Recognised

_LEFT = "They lie outside the backbone: --backbone-only ports it without a classifier."
_UNTOLD = (
    "The source does not say what they compute; a whole model (.keras, .h5, a SavedModel) does, and its head "
    "is ported too."
)
_HELD = (
    "A head is ported if it is made of pooling, Flatten, Dense, convolutions, norms, activations and what "
    "joins them (Add, Multiply, Average, Maximum, Concatenate)"
)
_GOES_ON = (
    "Behind it the source goes on with {tail}, which is not what {name} has there, and no head that a port "
    "can hold."
)
_FRONT = (
    "{layer} stands in front of the backbone, and --backbone-only leaves out only what follows it. Save the "
    "backbone by itself (one of the model's layers, or a model that begins behind {layer}), or write a table "
    "(--table FILE)."
)


def hint_for_surroundings(checkpoint: Checkpoint, match: Recognised) -> str:
    """Return what can be done about variables that lie outside the backbone."""
    if checkpoint.stored_network is None:
        return f"{_LEFT} {_UNTOLD}"
    front = _in_front(checkpoint, match)
    if front:
        return _FRONT.format(layer=front)
    from porter.planning.own_head import outside_of_head  # noqa: PLC0415  (a refusal alone needs it)

    if match.ending is not None and match.ending.tail:
        return f"{_LEFT} {_GOES_ON.format(tail=match.ending.tail, name=match.variant.name)}"
    outside = outside_of_head(checkpoint, match)
    return f"{_LEFT} {_HELD}{f': {outside}.' if outside else '.'}"


def _in_front(checkpoint: Checkpoint, match: Recognised) -> str:
    """Return the first layer with variables of its own that the backbone depends on; "" if there is none."""
    assert checkpoint.stored_network is not None  # noqa: S101 (the caller has asked)
    operations = checkpoint.stored_network.operations
    backbone = {part.name for part in match.variant.backbone_parts}
    entries = zip(match.variant.entries, match.keys, strict=True)
    inside = {key for entry, key in entries if key is not None and entry.part in backbone}
    needed: set[int] = set()
    for number in range(len(operations) - 1, -1, -1):
        if number in needed or inside & {*operations[number].variables.values()}:
            needed |= {number, *operations[number].inputs}
    left = checkpoint.specs.keys() - inside
    found = (operations[n].name for n in sorted(needed) if left & {*operations[n].variables.values()})
    return next(found, "")
