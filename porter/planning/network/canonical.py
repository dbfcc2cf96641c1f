"""One spelling for what can be written in several: two networks that compute the same become alike.

Nothing here knows a table: a stored network goes in, and comes out with fewer operations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from porter.core.stored_network import (
    Operation,
    StoredNetwork,
    draws_at_random,
    map_reshaped_to,
    needed_part,
    reshaped_to,
)
from porter.planning.network.head_steps import is_flattening
from porter.planning.network.layer_norms import of_vectors
from porter.planning.network.one_spelling import in_one_spelling
from porter.planning.network.small_maps import AS_CONV, AS_POOL, GLOBAL_OF, GLOBAL_POOLS

Size = tuple[int | None, int | None]
_UNKNOWN: Size = (None, None)
_PIXEL: Size = (1, 1)
_MAP_AXES = 3  # height, width, channels
_CONVOLUTIONS = ("conv", "depthwise_conv")
_SHAPES = ("flatten", "reshape")
# What prepares images, as long as nothing but the like stands in front of it: `stored_input` tells of it.
_PREPARING = ("scale", "resize", "reshape", "other", "add", "subtract", "multiply", "divide", "concat")
_CROPS = ("CenterCrop", "RandomCrop", "Cropping2D", "StridedSlice", "Slice", "CropAndResize")
PREPARED = "prepared"
_SIXTH = 1 / 6
_CLOSE = 1e-6


def canonical(network: StoredNetwork) -> StoredNetwork:
    """Return the same network without what changes nothing, and each activation as one operation.

    Padding is given as amounts ((top, bottom), (left, right)) or as ``"same"``; ``same_amounts`` are what the
    latter means at the size that the source states, or None.
    """
    found = _Canonical()
    numbers: list[int] = []
    summands = {taken for each in network.operations if each.kind == "add" for taken in each.inputs}
    for number, operation in enumerate(network.operations):
        inputs = tuple(numbers[taken] for taken in operation.inputs)
        numbers.append(found.add(operation._replace(inputs=inputs), is_summand=number in summands))
    outputs = tuple(numbers[number] for number in network.outputs)
    return in_one_spelling(found.network(outputs, network.origin))


class _Canonical:
    def __init__(self) -> None:
        self._operations: list[Operation] = []
        self._sizes: list[Size] = []
        self._prepares: list[bool] = []
        self._pooled: list[bool] = []  # whether it depends on a global pool: of one pixel at every size

    def add(self, operation: Operation, *, is_summand: bool) -> int:
        """Add an operation, and return the number of what stands for its output.

        Args:
            operation: With the numbers of what it takes here.
            is_summand: Whether a sum takes it: in what Keras 3 exports, sums reshape maps to shapes that are
                computed, and no vector comes of that.
        """
        kind, inputs = operation.kind, operation.inputs
        prepares = kind in _PREPARING and all(self._prepares[number] for number in inputs)
        prepares = prepares and bool(inputs) and not _is_learned(operation)
        if prepares and len(set(inputs)) == 1:
            self._mark_prepared(inputs[0])
            if _resizes(operation):
                self._sizes[inputs[0]] = _target_size(operation)
            return inputs[0]
        if kind == "scale" and _changes_nothing(operation):
            return inputs[0]
        if kind in _SHAPES and self._is_dropped(operation, is_summand=is_summand):
            return inputs[0]
        if kind in _CONVOLUTIONS:
            operation = self._convolution(operation)
        elif kind in GLOBAL_OF:
            operation = self._pool(operation)
        elif kind in GLOBAL_POOLS:
            operation = operation._replace(attributes=_order(operation))
        elif kind == "scale":
            operation = self._scaled(operation)
        elif kind == "multiply":
            operation = self._gated(operation)
        else:
            operation = self._in_one_spelling(operation)
        return self._append(operation, prepares=prepares or kind == "input")

    def _is_dropped(self, operation: Operation, *, is_summand: bool) -> bool:
        """Whether a reshape changes nothing; a Flatten of a map that is small as its images are does."""
        number = operation.inputs[0]
        before = self._operations[number]
        is_vector = self._pooled[number] or before.kind == "global_avg_pool"
        if self._sizes[number] != _PIXEL or not _is_flat(operation):
            return False
        return is_vector or is_summand or before.kind == "dense" or not is_flattening(operation)

    def _on_map(self, operation: Operation) -> Operation:
        """A dense layer that gives its pixels other places than they had is not one on the map."""
        shape, size = operation.attributes.get("shape"), self._sizes[operation.inputs[0]]
        if not isinstance(shape, tuple) or len(shape) != _MAP_AXES or None in size or shape[:2] == size:
            return operation
        return operation._replace(kind="other", attributes={**operation.attributes, "class_name": "Reshape"})

    def _in_one_spelling(self, operation: Operation) -> Operation:
        if operation.kind == "dense":
            return self._on_map(operation)
        if operation.kind == "relu" and operation.attributes == {**_RELU, "threshold": -0.0}:
            return operation._replace(attributes=_RELU)
        if operation.kind == "layer_norm" and self._operations[operation.inputs[0]].kind in GLOBAL_POOLS:
            return of_vectors(operation)
        return operation

    def network(self, outputs: tuple[int, ...], origin: str) -> StoredNetwork:
        """Return the operations that something with variables, or an output, depends on."""
        weighted = [number for number, operation in enumerate(self._operations) if operation.variables]
        part, ends = needed_part(self._operations, [*outputs, *weighted])
        return StoredNetwork(part, ends[: len(outputs)], origin)

    def _mark_prepared(self, number: int) -> None:
        """Remember that the network itself prepares the images that it takes."""
        image = self._operations[number]
        if image.kind == "input":
            self._operations[number] = image._replace(attributes={**image.attributes, PREPARED: True})

    def _append(self, operation: Operation, *, prepares: bool) -> int:
        self._operations.append(operation)
        self._sizes.append(self._size(operation))
        self._prepares.append(prepares)
        is_pool = operation.kind in GLOBAL_POOLS and AS_POOL not in operation.attributes
        self._pooled.append(is_pool or any(self._pooled[number] for number in operation.inputs))
        return len(self._operations) - 1

    def _size(self, operation: Operation) -> Size:
        """Return height and width of an operation's output, as far as they are known."""
        kind, attributes = operation.kind, operation.attributes
        if kind == "input":
            return _image_size(attributes.get("shape"))
        if kind in GLOBAL_POOLS or not operation.inputs:
            return _PIXEL
        before = self._sizes[operation.inputs[0]]
        if kind == "pad":
            amounts = _pairs(attributes["amounts"])
            return _per_axis(before, lambda axis, length: length + sum(amounts[axis]))
        if kind in _CONVOLUTIONS or kind in GLOBAL_OF:
            return self._strided(operation, before)
        if kind in ("flatten", "reshape", "resize", "other", "transposed_conv"):
            return _UNKNOWN
        sizes = [self._sizes[number] for number in operation.inputs]
        return next((size for size in sizes if size != _PIXEL), before)

    def _strided(self, operation: Operation, before: Size) -> Size:
        attributes = operation.attributes
        strides, padding = _pair(attributes["strides"]), attributes["padding"]
        window = _window(operation)
        if padding == "same":
            return _per_axis(before, lambda axis, length: -(-length // strides[axis]))
        amounts = ((0, 0), (0, 0)) if padding == "valid" else _pairs(padding)
        return _per_axis(
            before,
            lambda axis, length: (length + sum(amounts[axis]) - window[axis]) // strides[axis] + 1,
        )

    def _convolution(self, operation: Operation) -> Operation:
        """Take the padding in front of a convolution into it, and say what is left in one way."""
        attributes, source = dict(operation.attributes), operation.inputs[0]
        before = self._operations[source]
        if attributes["padding"] == "valid" and _is_zero_pad(before):
            attributes["padding"] = _pairs(before.attributes["amounts"])
            source = before.inputs[0]
        elif attributes["padding"] == "valid":
            attributes["padding"] = ((0, 0), (0, 0))
        window, strides = _window(operation), _pair(attributes["strides"])
        if window == (1, 1) and attributes["padding"] == "same":
            attributes["padding"] = ((0, 0), (0, 0))
        attributes.pop("use_bias", None)  # the variables say it
        if _centred(window, strides) == attributes["padding"]:
            attributes["padding"] = "same"
        attributes["same_amounts"] = _same_amounts(self._sizes[source], window, strides)
        if self._sizes[source] == _PIXEL and window == (1, 1) and operation.kind == "conv":
            attributes = {"groups": attributes["groups"], AS_CONV: attributes}
            return operation._replace(kind="dense", attributes=attributes, inputs=(source,))
        return operation._replace(attributes=attributes, inputs=(source,))

    def _pool(self, operation: Operation) -> Operation:
        """A pool over all that there is, is a global one."""
        size = self._sizes[operation.inputs[0]]
        window = _pair(operation.attributes["size"])
        if size == window and operation.attributes["padding"] == "valid":
            attributes = {**_order(operation), AS_POOL: (operation.kind, operation.attributes)}
            return operation._replace(kind=GLOBAL_OF[operation.kind], attributes=attributes)
        return operation

    def _scaled(self, operation: Operation) -> Operation:
        """relu6(x + 3) / 6 is a hard sigmoid, x * relu6(x + 3) / 6 a hard swish."""
        scale, offset = operation.attributes.get("scale"), operation.attributes.get("offset")
        if not _is_close(scale, _SIXTH) or not _is_close(offset, 0.0):
            return operation
        before = self._operations[operation.inputs[0]]
        root = self._shifted_relu6(before)
        if root is not None:
            return operation._replace(kind="hard_sigmoid", attributes=_HARD, inputs=(root,))
        if before.kind == "multiply" and len(before.inputs) == 2:
            for gated, gate in (before.inputs, before.inputs[::-1]):
                if self._shifted_relu6(self._operations[gate]) == gated:
                    return operation._replace(kind="hard_swish", attributes=_HARD, inputs=(gated,))
        return operation

    def _shifted_relu6(self, operation: Operation) -> int | None:
        """Return x where the operation is relu6(x + 3)."""
        if operation.kind != "relu" or dict(operation.attributes) != {**_RELU, "max_value": 6.0}:
            return None
        shift = self._operations[operation.inputs[0]]
        if shift.kind != "scale" or not _is_close(shift.attributes.get("scale"), 1.0):
            return None
        return shift.inputs[0] if _is_close(shift.attributes.get("offset"), 3.0) else None

    def _gated(self, operation: Operation) -> Operation:
        """Swish is x * sigmoid(x), and hard swish x * hard_sigmoid(x)."""
        if len(operation.inputs) != 2:
            return operation
        for gated, gate in (operation.inputs, operation.inputs[::-1]):
            inner = self._operations[gate]
            if inner.kind in ("sigmoid", "hard_sigmoid") and inner.inputs == (gated,):
                kind = "swish" if inner.kind == "sigmoid" else "hard_swish"
                return operation._replace(kind=kind, attributes=inner.attributes, inputs=(gated,))
        return operation


_RELU: Mapping[str, Any] = {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}
_HARD: Mapping[str, Any] = {"slope": _SIXTH, "offset": 0.5}


def _resizes(operation: Operation) -> bool:
    return operation.kind in ("resize", "reshape") or operation.attributes.get("class_name") in _CROPS


def _target_size(operation: Operation) -> Size:
    """Return the size that images are brought to, where one is told."""
    attributes = operation.attributes
    if operation.kind == "reshape":
        return _image_size((None, *(map_reshaped_to(operation) or ())))
    size = attributes.get("size") or (attributes.get("height"), attributes.get("width"))
    return _image_size((None, *size, None)) if isinstance(size, tuple | list) else _UNKNOWN


def _order(operation: Operation) -> Mapping[str, Any]:
    """Return an operation's order of axes, where it is not the usual one."""
    return {name: value for name, value in operation.attributes.items() if name == "data_format"}


def _is_learned(operation: Operation) -> bool:
    """Whether it has variables; a Normalization layer's were measured on images."""
    if draws_at_random(operation):
        return False
    return bool(operation.variables) and operation.attributes.get("class_name") != "Normalization"


def _is_flat(operation: Operation) -> bool:
    """Whether a reshape of one pixel keeps its channels in one axis."""
    shape = reshaped_to(operation)
    return shape is None or sum(length != 1 for length in shape) <= 1


def _is_zero_pad(operation: Operation) -> bool:
    attributes = operation.attributes
    return operation.kind == "pad" and attributes["mode"] == "constant" and not attributes["value"]


def _is_close(value: object, wanted: float) -> bool:
    return isinstance(value, int | float) and math.isclose(value, wanted, rel_tol=_CLOSE, abs_tol=_CLOSE)


def _window(operation: Operation) -> tuple[int, int]:
    """Return how many pixels a kernel or a pool spans, dilation included."""
    attributes = operation.attributes
    size = _pair(attributes["size"] if "size" in attributes else attributes["kernel"])
    dilation = _pair(attributes.get("dilation", (1, 1)))
    return (size[0] - 1) * dilation[0] + 1, (size[1] - 1) * dilation[1] + 1


def _same_amounts(
    size: Size, window: tuple[int, int], strides: tuple[int, int]
) -> tuple[tuple[int, int], ...] | None:
    """Return what SAME pads at a size, or None where that is not known."""
    found = []
    for length, span, stride in zip(size, window, strides, strict=True):
        if length is None:
            return None
        total = max((-(-length // stride) - 1) * stride + span - length, 0)
        found.append((total // 2, total - total // 2))
    return tuple(found)


def _centred(window: tuple[int, int], strides: tuple[int, int]) -> tuple[tuple[int, int], ...] | None:
    """Return what SAME pads at every size, where that is one amount other than none: with stride 1."""
    if strides != (1, 1) or window == (1, 1):
        return None
    return tuple(((span - 1) // 2, span - 1 - (span - 1) // 2) for span in window)


def _image_size(shape: object) -> Size:
    if not isinstance(shape, tuple | list) or len(shape) != 4:
        return _UNKNOWN
    return tuple(length if type(length) is int else None for length in shape[1:3])  # type: ignore[return-value]


def _changes_nothing(operation: Operation) -> bool:
    """Whether a scale is by one, and adds nothing."""
    return operation.attributes.get("scale") == 1 and operation.attributes.get("offset") == 0


def _per_axis(size: Size, length_of: Any) -> Size:
    height, width = (None if length is None else length_of(axis, length) for axis, length in enumerate(size))
    return height, width


def _pair(value: Any) -> tuple[int, int]:
    first, second = value
    return int(first), int(second)


def _pairs(value: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    first, second = value
    return _pair(first), _pair(second)
