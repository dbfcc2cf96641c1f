"""A source that pads fixed amounts on maps of odd size: PyTorch's network is made to pad the same amounts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from porter.core.checkpoint import Checkpoint
from porter.core.stored_network import Operation, StoredNetwork
from porter.planning.network.canonical import canonical
from porter.planning.network.compare_network import computes_backbone
from porter.planning.network.fixed_padding import fixed_amounts, least, pads_as_same, with_padding
from porter.planning.network.record import reference
from porter.planning.recognition import Recognised
from porter.tables.variants import Variant

REDUCTION = 32  # pixels of the image that are one of the last map
_NOTE = (
    "the source pads fixed amounts, which is not SAME at this size: {count} convolutions of PyTorch's "
    "network are made to pad them too (porter.load_model does it)"
)
_ANY_SIZE = (
    "the source was built for images of any size and pads fixed amounts: the port answers as it does at "
    "multiples of {reduction} pixels; --input-size makes a port for another size"
)


def with_fixed_padding(checkpoint: Checkpoint, match: Recognised, size: int | None) -> Recognised:
    """Return the match with what its source pads on odd maps, or a note that it was built for no size.

    Args:
        checkpoint: The source.
        match: The network in it.
        size: Height and width of images that a person chose.
    """
    if not pads_as_same(match.variant):
        return match
    if checkpoint.stored_network is None:
        # Weights alone: only what the reference pads at every size is known.
        modules = dict(_modules(match.variant, most=1)) if size is not None and size % REDUCTION else {}
        return _adopted(match, modules)
    if not any(operation.kind == "pad" for operation in checkpoint.stored_network.operations):
        return match
    strided = [o for o in canonical(checkpoint.stored_network).operations if fixed_amounts(_listed(o))]
    if not strided:
        return match
    if _takes_any_size(checkpoint.stored_network):
        if size is None:
            return match._replace(notes=(*match.notes, _ANY_SIZE.format(reduction=REDUCTION)))
        is_other = bool(size % REDUCTION)
    else:
        is_other = any(_is_other(o, checkpoint.stored_input.size) for o in strided)
    found = _adopted(match, dict(_modules(match.variant))) if is_other else match
    return found if found is match or computes_backbone(checkpoint, found) else match


def _is_other(operation: Operation, size: tuple[int, int] | None) -> bool:
    """Whether an operation does not pad as SAME does; behind a resize only the network's own size tells."""
    amounts = operation.attributes["same_amounts"]
    if amounts is None:
        return size is None or any(length % REDUCTION for length in size)
    return bool(amounts != operation.attributes["padding"])


def _takes_any_size(network: StoredNetwork) -> bool:
    shapes = [o.attributes.get("shape") for o in network.operations if o.kind == "input"]
    return not any(isinstance(shape, tuple | list) and all(map(bool, shape[1:3])) for shape in shapes)


def _listed(operation: Any) -> Any:
    """Return an operation of a source as a record has it: with all the amounts that were seen."""
    padding = operation.attributes.get("padding")
    if not isinstance(padding, tuple):
        return operation
    return operation._replace(attributes={**operation.attributes, "padding": (padding,)})


def _modules(variant: Variant, most: int = 2) -> Iterator[tuple[str, Any]]:
    """Yield modules of PyTorch's network, and the fixed amounts; those of which at most `most` are known."""
    targets = {variant.full_source(entry): entry.target for entry in variant.entries}
    for form in reference(variant):
        for operation in form.operations:
            amounts = fixed_amounts(operation)
            if 0 < len(amounts) <= most:
                kernel = next(name for role, name in operation.variables.items() if role.endswith("kernel"))
                yield targets[kernel].removesuffix(".weight"), least(amounts)


def _adopted(match: Recognised, modules: dict[str, Any]) -> Recognised:
    if not modules:
        return match
    note = _NOTE.format(count=len(modules))
    return match._replace(variant=with_padding(match.variant, modules), notes=(*match.notes, note))
