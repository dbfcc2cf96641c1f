"""Pictures as the source's own evaluation code prepares them, without TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from porter.errors import ParityError
from porter.tables.variants import InputSpec
from porter.tensors import Array


def decode(path: Path) -> Array:
    """Read a picture file.

    Returns:
        (height, width, 3) uint8, RGB.

    Raises:
        ParityError: it cannot be read as a picture.
    """
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ParityError("picture/unreadable", f"cannot be read as a picture ({error})", file=path) from None


def prepare(picture: Array, spec: InputSpec, size: int) -> Array:
    """Crop the centre, resize it, normalise it: what Model Garden's evaluation does to a picture.

    The crop is `center_crop_image` of official/vision/ops/preprocess_ops.py, the resize is tf.image.resize
    (bilinear, half-pixel centres, no antialiasing), the arithmetic is float32 as there.

    Args:
        picture: (height, width, 3) uint8, RGB.
        spec: Crop, mean and standard deviation, of pixels in 0..1.
        size: Height and width of the result.

    Returns:
        (size, size, 3) float32.
    """
    height, width = picture.shape[:2]
    side = np.float32(spec.crop_pct) * np.float32(min(height, width))
    top, left = (int((np.float32(length) - side) / np.float32(2)) for length in (height, width))
    crop = picture[top : top + int(side), left : left + int(side)]
    rows = _interpolate(crop.astype(np.float32), size)
    pixels = _interpolate(rows.swapaxes(0, 1), size).swapaxes(0, 1)
    mean, std = (np.asarray(values, np.float32) * np.float32(255) for values in (spec.mean, spec.std))
    return np.ascontiguousarray((pixels - mean) / std)


def _interpolate(values: Array, size: int) -> Array:
    """Resize axis 0 linearly, with the weights of tf.image.resize: half-pixel centres, edges repeated."""
    length = values.shape[0]
    position = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(length / size)
    position -= np.float32(0.5)
    floor = np.floor(position)
    lower = np.maximum(floor.astype(np.int64), 0)
    upper = np.minimum(np.ceil(position).astype(np.int64), length - 1)
    weight = (position - floor).reshape(-1, 1, 1)
    result: Array = values[lower] + (values[upper] - values[lower]) * weight
    return result
