"""Small copies of images, to be shown on a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence

from porter.agreement.folder import RunFolder
from porter.data.opening import read_part
from porter.errors import PorterError
from porter.parity.image_row import ImageRow

_SIDE = 160


def thumbnails(folder: RunFolder, rows: Sequence[ImageRow]) -> Mapping[int, str]:
    """Return a JPEG as a data URL for each row by its index; none for an image that cannot be read now."""
    found: dict[int, str] = {}
    for number in {row.part for row in rows}:
        part = folder.part(number)
        wanted = {row.index - part.index: row.index for row in rows if row.part == number}
        try:
            for place, item in enumerate(read_part(part)):
                if place in wanted and (small := _small(item.encoded)):
                    found[wanted[place]] = small
        except PorterError:  # the data went meanwhile, and the figures are still true
            continue
    return found


def _small(encoded: bytes) -> str:
    from PIL import Image  # noqa: PLC0415  (only a page needs it)

    try:
        with Image.open(io.BytesIO(encoded)) as image:
            small = image.convert("RGB")
            small.thumbnail((_SIDE, _SIDE))
            written = io.BytesIO()
            small.save(written, "JPEG", quality=80)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(written.getvalue()).decode()}"
