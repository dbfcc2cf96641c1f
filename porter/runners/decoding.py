"""Images by TensorFlow's own decoder and resize."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from porter.tables.table_records import InputSpec


def decoded_image(encoded: bytes) -> Any:
    """Return the pixels of an image file, (H, W, 3) uint8; of an animation the first.

    Raises:
        tf.errors.InvalidArgumentError: TensorFlow cannot decode it.
    """
    return tf.io.decode_image(encoded, channels=3, expand_animations=False)


def resized(decoded: Any, spec: InputSpec, size: int) -> Any:
    """Return the centre square of an image, resized by tf.image.resize to (size, size, 3) float32.

    Args:
        decoded: (H, W, 3) uint8.
        spec: Crop and interpolation.
        size: Height and width of the result.
    """
    height, width = decoded.shape[:2]
    side = np.float32(spec.crop_pct) * np.float32(min(height, width))
    top, left = (int((np.float32(length) - side) / np.float32(2)) for length in (height, width))
    cropped = tf.image.crop_to_bounding_box(decoded, top, left, int(side), int(side))
    return tf.image.resize(cropped, (size, size), method=spec.interpolation)
