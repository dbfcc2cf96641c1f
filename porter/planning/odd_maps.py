"""A source that pads fixed amounts on maps of odd size: PyTorch's network is made to pad the same amounts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from porter.core.checkpoint import Checkpoint
from porter.core.stored_network import Operation, StoredNetwork
from porter.planning.network.fixed_padding import ADJUSTMENT, fixed_amounts, least, pads_as_same, with_padding
from porter.planning.recognition import Recognised
from porter.tables.variants import Variant

REDUCTION = 32  # pixels of the image that are one of the last map
_NOTE = (
    "the source pads fixed amounts, which is not SAME at this size: {count} convolutions of PyTorch's "
    "network are made to pad them too (porter.load_model does it)"
)
_ANY_SIZE = (
    "the source pads fixed amounts, whatever the size of its images: the port answers as it does at "
    "multiples of {reduction} pixels; --input-size makes a port for another size"
)


def with_fixed_padding(checkpoint: Checkpoint, match: Recognised, size: int | None) -> Recognised:
    """Return the match with what its source pads on odd maps, or a note that it was built for no size.

    Args:
        checkpoint: The source.
        match: The network in it.
        size: Height and width of images that a person chose.
    """
    variant = match.variant
    if ADJUSTMENT in variant.adjust:
        return _adopted(match, variant)
    if not pads_as_same(variant):
        return match
    if checkpoint.stored_network is None:
        return _of_weights_alone(match, size)
    strided = _strided(checkpoint.stored_network)
    if strided and size is None and _takes_any_size(checkpoint.stored_network):
        return _noted(match)
    from porter.planning.network.compare_network import computes_backbone  # noqa: PLC0415  (not of weights alone)

    for padded in _padded_forms(checkpoint, variant, size, strided):
        found = _adopted(match, padded)
        if computes_backbone(checkpoint, found):
            return found
    return match


def _of_weights_alone(match: Recognised, size: int | None) -> Recognised:
    """Adopt, or say, what the reference pads at every size: nothing else is known."""
    if not any(each % REDUCTION for each in match.variant.input.check_sizes) and size is None:
        return match if _padded(match.variant, most=1) is match.variant else _noted(match)
    return _adopted(match, _padded(match.variant, most=1)) if size and size % REDUCTION else match


def _noted(match: Recognised) -> Recognised:
    return match._replace(notes=(*match.notes, _ANY_SIZE.format(reduction=REDUCTION)))


def padded_forms(checkpoint: Checkpoint, variant: Variant, size: int | None = None) -> Iterator[Variant]:
    """Yield a variant that pads as its source does, if that is not SAME at the source's size or `size`."""
    network = checkpoint.stored_network
    if network is not None and pads_as_same(variant):
        yield from _padded_forms(checkpoint, variant, size, _strided(network))


def _padded_forms(
    checkpoint: Checkpoint, variant: Variant, size: int | None, strided: list[Operation]
) -> Iterator[Variant]:
    is_other = size is not None and size % REDUCTION
    if checkpoint.stored_network is not None and not _takes_any_size(checkpoint.stored_network):
        is_other = any(_is_other(each, checkpoint.stored_input.size) for each in strided)
    padded = _padded(variant) if is_other and strided else variant
    if padded is not variant:
        yield padded


def _strided(network: StoredNetwork) -> list[Operation]:
    """Return the convolutions that a source pads by fixed amounts."""
    if not any(operation.kind == "pad" for operation in network.operations):
        return []
    from porter.planning.network.canonical import canonical  # noqa: PLC0415  (few pad by a layer of its own)

    return [o for o in canonical(network).operations if fixed_amounts(_listed(o))]


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


def _padded(variant: Variant, most: int = 2) -> Variant:
    """Return a variant with the amounts of even maps in convolutions of which at most `most` are known."""
    from porter.planning.network.record import reference  # noqa: PLC0415  (only where maps may be odd)

    targets = {variant.full_source(entry): entry.target for entry in variant.entries}
    modules = {}
    network = reference(variant)
    for operation in () if network is None else network.operations:
        amounts = fixed_amounts(operation)
        if 0 < len(amounts) <= most:
            kernel = next(name for role, name in operation.variables.items() if role.endswith("kernel"))
            modules[targets[kernel].removesuffix(".weight")] = least(amounts)
    return with_padding(variant, modules) if modules else variant


def _adopted(match: Recognised, variant: Variant) -> Recognised:
    if ADJUSTMENT not in variant.adjust:
        return match
    note = _NOTE.format(count=len(variant.adjust[ADJUSTMENT]))  # type: ignore[arg-type]
    return match._replace(variant=variant, notes=(*match.notes, note))
