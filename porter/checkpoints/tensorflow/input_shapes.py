"""Shapes of inputs, as signatures and placeholders store them: the size of images, if they tell one.

Source of the field numbers: tensorflow/core/framework/tensor_shape.proto.
"""

from __future__ import annotations

from collections.abc import Iterable

from porter.formats.files import RegularFile
from porter.formats.protobuf import signed
from porter.formats.protobuf_file import Place, places

_AXES, _MOST_CHANNELS = 4, 4  # of images (N, H, W, C)


def axis_lengths(file: RegularFile, shape: Place) -> tuple[int, ...]:
    """Return the lengths in a TensorShapeProto, -1 for an axis that is not fixed.

    Raises:
        Malformed: the message is cut off.
    """
    axes = [place for tag, place, _ in places(file, shape) if tag == 0x12]
    return tuple(
        next((signed(length) for tag, _, length in places(file, axis) if tag == 0x08), 0) for axis in axes
    )


def image_size(shapes: Iterable[tuple[int, ...]]) -> tuple[int, int] | None:
    """Return height and width, if all shapes that images can have agree on one."""
    sizes = {shape[1:3] for shape in shapes if len(shape) == _AXES and 0 < shape[3] <= _MOST_CHANNELS}
    if len(sizes) != 1 or min(next(iter(sizes))) < 1:
        return None
    height, width = sizes.pop()
    return height, width
