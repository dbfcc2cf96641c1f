"""What a TensorFlow Lite model says of the images that it takes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from porter.checkpoints.tflite.schema import Model, Tensor
from porter.core.image_preparation import prepared_by
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
    size = (tensor.shape[1], tensor.shape[2]) if len(tensor.shape) == _RANK else (0, 0)
    found = StoredInput(size if min(size) > 1 else None, _SIZE, tuple(_of_pixels(tensor)))
    return found if network is None else prepared_by(found, network)


def _of_pixels(tensor: Tensor) -> Iterator[Rescaling]:
    """Yield how the numbers of 8-bit pixels follow from the input's quantisation."""
    known = tensor.quantisation
    if tensor.type not in _BYTES or known is None or known.scale.size != 1:
        return
    scale = float(known.scale[0])
    offset = scale * (_BYTES[tensor.type] - float(known.zero_point[0]))
    if np.isfinite(scale) and scale > 0:
        yield Rescaling(f"input quantisation of {tensor.name}", (scale,), (offset,))
