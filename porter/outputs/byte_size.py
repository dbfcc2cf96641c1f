"""A number of bytes as people write it."""

from __future__ import annotations

import re

from porter.errors import OutputError

# Powers of ten, as Hugging Face counts shards; a bare number is bytes.
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_byte_size(size: str | int) -> int:
    """Return the number of bytes that `size` means.

    >>> parse_byte_size("200 MB")
    200000000

    Args:
        size: ``"5GB"``, ``"200 MB"`` or a number of bytes.

    Raises:
        OutputError: it is no size, or not one byte.
    """
    match = re.fullmatch(r"\s*(\d{1,18})\s*([kmgt]?)b?\s*", str(size), re.IGNORECASE)
    if match is None or not int(match[1]):
        raise OutputError(
            "output/shard-size",
            f"{size!r} is no size: write 5GB, 200MB or a number of bytes; a shard holds at least one byte",
        )
    return int(match[1]) * _UNITS[match[2].upper()]
