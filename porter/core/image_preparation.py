"""What a stored network does to images before its first weights, as a graph or a converted model tells it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from porter.core.stored_network import (
    REVERSED_CHANNELS,
    Operation,
    StoredNetwork,
    draws_at_random,
    is_that_map,
    map_reshaped_to,
)
from porter.core.stored_preprocessing import (
    ChannelReversal,
    Normalization,
    PreparingStep,
    Rescaling,
    StoredInput,
)

# They move pixels or shapes, and no values.
_MOVING = ("pad", "flatten", "input")
_MOVING_CLASSES = ("SelectV2", "ImageProjectiveTransformV2", "ImageProjectiveTransformV3")
# They move pixels too, and leave each the value that it had: what scales values behind them is read.
_KEEPING = (
    *("reshape", "resize", "pad", "concat", "Pad", "StridedSlice", "Slice", "GatherV2", "Transpose", "Tile"),
    *("Squeeze", "ExpandDims", "ReverseV2", "ConcatV2", "Cast", "CropAndResize", "Unpack", "Split", "Pack"),
    *("DecodeJpeg", "DecodePng", "DecodeImage", "DecodeRaw", "DecodeBmp", "DecodeGif"),
)
_DEVIATION = "Maximum(Sqrt(v),1e-07)"
_SIZE_SOURCES = {
    "resize": "the size that the source resizes its images to",
    "reshape": "the shape that the source gives its images",
}


def prepared_by(images: StoredInput, network: StoredNetwork) -> StoredInput:
    """Return images with what stands in front of the first weights: scales, colours turned round, a size.

    A scale behind something that computes other values (a spectrogram) is none of the images, and not read.

    Args:
        images: What else the source says of its images.
        network: What a graph computes; of Keras's configs `StoredInput` tells more.

    Example:
        >>> resized = Operation("resize", "resizing", (0,), {"size": (96, 96)}, {})
        >>> conv = Operation("conv", "stem", (1,), {}, {"kernel": "stem/kernel"})
        >>> network = StoredNetwork((Operation("input", "image", (), {}, {}), resized, conv), (2,), "")
        >>> prepared_by(StoredInput((128, 128)), network).size
        (96, 96)
    """
    steps, unread, is_scalable = list(images.steps), list(images.unread), True
    path = list(_path(network.operations))
    while path:
        operation = path.pop(0)
        step: PreparingStep | None = _turned(operation) or _scaling(operation)
        step = step or _normalization(operation, path[0] if path else None)
        if isinstance(step, Normalization):
            path.pop(0)
        if step is not None and is_scalable:
            steps.append(step)
            continue
        if size := _size(operation):
            images = images._replace(size=size, size_source=_SIZE_SOURCES[operation.kind])
        if not _only_moves(operation, network):
            kind = operation.attributes.get("class_name", operation.kind)
            unread.append(f"{operation.name} ({kind})")
            is_scalable &= kind in _KEEPING
    return images._replace(steps=tuple(steps), unread=tuple(unread))


def _only_moves(operation: Operation, network: StoredNetwork) -> bool:
    """Whether it changes shapes alone, or belongs to an augmentation, as a flip by chance does."""
    name = operation.attributes.get("class_name")
    if name == "ReverseV2":
        chosen = [each for each in network.operations if each.attributes.get("class_name") == "SelectV2"]
        return any(network.operations[number] is operation for each in chosen for number in each.inputs)
    if operation.kind == "reshape":
        return _keeps_order(operation, network)
    return _size(operation) is not None or operation.kind in _MOVING or name in _MOVING_CLASSES


def _keeps_order(operation: Operation, network: StoredNetwork) -> bool:
    """Whether a reshape makes the map that the images were."""
    shape, before = map_reshaped_to(operation), network.operations[operation.inputs[0]]
    while before.kind == "scale":
        before = network.operations[before.inputs[0]]
    given = before.attributes.get("shape") if before.kind == "input" else None
    return shape is not None and isinstance(given, tuple | list) and is_that_map(given[1:], shape)


def _size(operation: Operation) -> tuple[int, int] | None:
    """Return height and width of what a resizing or a reshape makes, as far as it tells them."""
    if operation.kind == "reshape":
        shape = map_reshaped_to(operation)
        return None if shape is None else shape[:2]
    size = operation.attributes.get("size") if operation.kind == "resize" else None
    is_told = isinstance(size, tuple) and len(size) == 2 and min(size) > 0
    return (int(size[0]), int(size[1])) if is_told else None  # type: ignore[index]


def _path(operations: Sequence[Operation]) -> Iterator[Operation]:
    """Yield what stands between the images and the first layer that has weights of its own."""
    prepared: set[int] = set()
    for number, operation in enumerate(operations):
        is_first = operation.kind == "input"
        if is_first or (not _has_weights(operation) and operation.inputs and prepared >= {*operation.inputs}):
            prepared.add(number)
    weighted = [o for o in operations if _has_weights(o) and o.inputs and prepared & {*o.inputs}]
    reached = {number for operation in weighted for number in operation.inputs} & prepared
    for number in range(len(operations) - 1, -1, -1):
        if number in reached:
            reached.update(operations[number].inputs)
    for number in sorted(reached):
        yield operations[number]


def _has_weights(operation: Operation) -> bool:
    """Whether it has variables; what subtracts them, or divides by them, may be a Normalization's."""
    is_measured = operation.kind == "other" and operation.attributes.get("class_name") in ("Sub", "RealDiv")
    return bool(operation.variables) and not is_measured and not draws_at_random(operation)


def _turned(operation: Operation) -> ChannelReversal | None:
    is_turned = operation.attributes.get("class_name") == REVERSED_CHANNELS
    return ChannelReversal(operation.name) if is_turned else None


def _scaling(operation: Operation) -> Rescaling | None:
    if operation.kind != "scale":
        return None
    scale, offset = (_numbers(operation.attributes.get(name)) for name in ("scale", "offset"))
    return Rescaling(operation.name, scale, offset) if scale and offset else None


def _normalization(first: Operation, then: Operation | None) -> Normalization | None:
    """Read (x - mean) / max(sqrt(variance), 1e-7), both of variables."""
    if then is None or not _is_plain(first.attributes, "Sub") or "weights" in first.attributes:
        return None
    if not _is_plain(then.attributes, "RealDiv") or then.attributes.get("weights") != [_DEVIATION]:
        return None
    if len(first.variables) != 1 or len(then.variables) != 1:
        return None
    mean, variance = (*first.variables.values(), *then.variables.values())
    return Normalization(first.name, mean, variance, (mean, variance))


def _is_plain(attributes: Mapping[str, object], op: str) -> bool:
    return attributes.get("class_name") == op and attributes.get("takes") == "iw"


def _numbers(value: object) -> tuple[float, ...]:
    listed = value if isinstance(value, list | tuple) else [value]
    return tuple(float(each) for each in listed if isinstance(each, int | float))
