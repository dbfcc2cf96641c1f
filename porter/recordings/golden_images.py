"""Images in a golden: prepared once, kept as 8-bit pixels, and the same numbers wherever they are read."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from porter.core.checkpoint import Array
from porter.errors import ParityError
from porter.recordings.images import decode, prepare
from porter.tables.table_records import InputSpec

# One that is smaller tells little of what a network sees in photographs.
_SMALLEST = 32


@dataclass(frozen=True, slots=True)
class GoldenImage:
    """An image as it is given to both sides of a golden.

    The pixels are stored, not the file: decoders of JPEG differ from release to release.

    Attributes:
        file: Name of the image file.
        sha256: Digest of the image file.
        pixels: (S, S, 3) uint8, RGB: cropped and resized as the source's evaluation does it, then rounded.
    """

    file: str
    sha256: str
    pixels: NDArray[np.uint8]

    @classmethod
    def read(cls, path: Path, spec: InputSpec, size: int, room: int) -> GoldenImage:
        """Read an image file and crop and resize it to `size` pixels, or fewer if it would take more room.

        Args:
            path: The image file.
            spec: How the source prepares images.
            size: Height and width that the network is to be given.
            room: Bytes that `png` of it may have.

        Raises:
            ParityError: it is no image, or has no form that is small enough.
        """
        image = decode(path)
        as_pixels = spec._replace(mean=(0.0,) * 3, std=(1 / 255,) * 3, channel_order="rgb")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        for side in _sides(size):
            pixels = np.clip(np.rint(prepare(image, as_pixels, side)), 0, 255).astype(np.uint8)
            prepared = cls(path.name, digest, pixels)
            if len(prepared.png()) <= room:
                return prepared
        raise ParityError(
            "golden/no-room",
            "the images take more room than a golden has",
            file=path,
            hint="Give fewer of them.",
        )

    def png(self) -> bytes:
        """Return the pixels as PNG, which loses nothing."""
        from PIL import Image  # noqa: PLC0415  (only who has images needs it)

        written = io.BytesIO()
        Image.fromarray(self.pixels).save(written, "PNG", optimize=True)
        return written.getvalue()

    def normalised(self, spec: InputSpec, size: int) -> Array:
        """Return what a network is given of it, (size, size, 3) float32."""
        return prepare(self.pixels, spec._replace(crop_pct=1.0), size)


def pixels_of(png: bytes, side: int) -> NDArray[np.uint8]:
    """Read pixels that `GoldenImage.png` wrote.

    Raises:
        ValueError: it is no such image of that side.
        OSError: the bytes are damaged.
    """
    from PIL import Image  # noqa: PLC0415  (only who has images needs it)

    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        if image.size != (side, side) or image.mode != "RGB":
            raise ValueError(f"an image is {image.mode} of {image.size}, not RGB of {side} pixels")
        return np.asarray(image)


def _sides(size: int) -> Iterator[int]:
    """Yield smaller and smaller sides."""
    while size >= _SMALLEST:
        yield size
        size = size * 7 // 8
