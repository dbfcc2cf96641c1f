"""Images as the source's own evaluation code prepares them, without TensorFlow."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from porter.core.checkpoint import Array
from porter.errors import MissingDependencyError, ParityError, not_installed
from porter.tables.table_records import InputSpec

if TYPE_CHECKING:  # the packages that a check of random weights needs may be there without it
    from PIL.Image import Image


def decode(path: Path) -> Array:
    """Read an image file.

    Returns:
        (height, width, 3) uint8, RGB.

    Raises:
        MissingDependencyError: Pillow is not installed.
        ParityError: it cannot be read as an image.
    """
    return _decoded(path, path)


def decode_bytes(encoded: bytes, name: str) -> Array:
    """Read the bytes of an image file that is called `name`; as `decode`."""
    return _decoded(io.BytesIO(encoded), Path(name))


def _decoded(source: Path | io.BytesIO, file: Path) -> Array:
    try:
        from PIL import Image, UnidentifiedImageError  # noqa: PLC0415  (see above)
    except ImportError:
        raise MissingDependencyError(
            "picture/no-pillow", not_installed(["Pillow"]), hint="pip install 'port-weights[torch]'"
        ) from None
    try:
        with Image.open(source) as image:
            return _colours(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # as PIL's readers do
        # Pillow names the object that it reads, with its place in memory: the rows of two runs would differ.
        said = "its format is not known" if isinstance(error, UnidentifiedImageError) else error
        raise ParityError("picture/unreadable", f"cannot be read as an image ({said})", file=file) from None


def _colours(image: Image) -> Array:
    if image.mode.startswith("I;16"):
        # Grey of 16 bits: convert() would cut it off at 255, TensorFlow's decoder takes the high byte.
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are numbers without a range, mode {image.mode}")
    return np.asarray(image.convert("RGB"))


def prepare(image: Array, spec: InputSpec, size: int) -> Array:
    """Crop the centre, resize it, normalise it: what Model Garden's evaluation does to an image.

    The crop is `center_crop_image` of official/vision/ops/preprocess_ops.py, the resize is tf.image.resize
    (bilinear or bicubic, half-pixel centres, no antialiasing), the arithmetic is float32 as there.

    Args:
        image: (height, width, 3) uint8, RGB.
        spec: Crop, interpolation, mean and standard deviation, of pixels in 0..1, and order of channels.
        size: Height and width of the result.

    Returns:
        (size, size, 3) float32, RGB or BGR as `spec` says.

    Raises:
        ParityError: the interpolation is neither bilinear nor bicubic, or the crop has not a single pixel.
    """
    if spec.interpolation not in _INTERPOLATIONS:
        raise ParityError(
            "picture/interpolation",
            "images can be resized in two ways",
            expected=" or ".join(_INTERPOLATIONS),
            found=spec.interpolation,
        )
    interpolate = _INTERPOLATIONS[spec.interpolation]
    height, width = image.shape[:2]
    side = np.float32(spec.crop_pct) * np.float32(min(height, width))
    if side < 1:
        raise ParityError(
            "picture/too-small", "nothing is left of the image", found=f"{height}x{width} pixels"
        )
    top, left = (int((np.float32(length) - side) / np.float32(2)) for length in (height, width))
    crop = image[top : top + int(side), left : left + int(side)]
    rows = interpolate(crop.astype(np.float32), size)
    pixels = interpolate(rows.swapaxes(0, 1), size).swapaxes(0, 1)
    mean, std = (np.asarray(values, np.float32) * np.float32(255) for values in (spec.mean, spec.std))
    prepared = (pixels - mean) / std
    return np.ascontiguousarray(prepared[..., ::-1] if spec.channel_order == "bgr" else prepared)


def _linear(values: Array, size: int) -> Array:
    """Resize axis 0 linearly, with the weights of tf.image.resize: half-pixel centres, edges repeated."""
    length = values.shape[0]
    position = _positions(length, size)
    floor = np.floor(position)
    lower = np.maximum(floor.astype(np.int64), 0)
    upper = np.minimum(np.ceil(position).astype(np.int64), length - 1)
    weight = (position - floor).reshape(-1, 1, 1)
    result: Array = values[lower] + (values[upper] - values[lower]) * weight
    return result


def _cubic(values: Array, size: int) -> Array:
    """Resize axis 0 with Keys's cubic, a = -0.5; what lies outside the image has no weight.

    The weights are rounded to 1/1024 of a pixel, as in tensorflow/core/kernels/image/resize_bicubic_op.cc.
    """
    length = values.shape[0]
    position = _positions(length, size)
    floor = np.floor(position).astype(np.int64)
    offset = np.rint((position - floor.astype(np.float32)) * _CUBIC_STEPS) / _CUBIC_STEPS
    places = floor[:, None] + np.arange(-1, 3)
    weights = _keys(np.abs(offset[:, None] - np.arange(-1, 3)))
    weights[(places < 0) | (places >= length)] = 0
    weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    near = values[places.clip(0, length - 1)]
    result: Array = np.einsum("ok,ok...->o...", weights, near)
    return result


def _keys(distance: Array) -> Array:
    """Return Keys's kernel with a = -0.5 for distances of 0..2 pixels."""
    inner = (1.5 * distance - 2.5) * distance**2 + 1
    outer = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance <= 1, inner, outer)


def _positions(length: int, size: int) -> Array:
    """Return where the centre of each new pixel lies among the old ones, float32."""
    centres = np.arange(size, dtype=np.float32) + np.float32(0.5)
    return centres * np.float32(length / size) - np.float32(0.5)


_INTERPOLATIONS = {"bilinear": _linear, "bicubic": _cubic}
_CUBIC_STEPS = 1024
