"""What a TensorFlow Lite model says of the images that it takes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from porter.checkpoints.tflite.schema import Model, Tensor
from porter.core.stored_network import StoredNetwork
from porter.core.stored_preprocessing import NOTHING_STORED, Rescaling, StoredInput

_RANK = 4
_BYTES = {3: 0, 9: -128}  # UINT8 and INT8, and what a black pixel is there
_SIZE = "the shape of the file's input"


def stored_input(model: Model, network: StoredNetwork | None) -> StoredInput:
    """Return size and scale of the images; nothing if the network does not take one image."""
    if len(model.inputs) != 1:
        return NOTHING_STORED
    tensor = model.tensors[model.inputs[0]]
    if len(tensor.shape) != _RANK:
        return NOTHING_STORED
    size = tensor.shape[1], tensor.shape[2]
    steps = (*_of_pixels(tensor), *_leading(network))
    return StoredInput(size if min(size) > 1 else None, _SIZE, steps)


def _of_pixels(tensor: Tensor) -> Iterator[Rescaling]:
    """Yield how the numbers of 8-bit pixels follow from the input's quantisation."""
    known = tensor.quantisation
    if tensor.type not in _BYTES or known is None or known.scale.size != 1:
        return
    scale = float(known.scale[0])
    offset = scale * (_BYTES[tensor.type] - float(known.zero_point[0]))
    if np.isfinite(scale) and scale > 0:
        yield Rescaling(f"input quantisation of {tensor.name}", (scale,), (offset,))


def _leading(network: StoredNetwork | None) -> Iterator[Rescaling]:
    """Yield the scales in front of the first layer that is none."""
    number = 0
    operations = () if network is None else network.operations
    while True:
        users = [n for n, operation in enumerate(operations) if number in operation.inputs]
        if len(users) != 1 or operations[users[0]].kind != "scale":
            return
        number = users[0]
        scale, offset = (_tuple(operations[number].attributes[name]) for name in ("scale", "offset"))
        yield Rescaling(operations[number].name, scale, offset)


def _tuple(value: object) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (float(str(value)),)
