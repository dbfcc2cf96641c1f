"""A number of bytes as people write it."""

from __future__ import annotations

import re

import click

# Powers of ten, as Hugging Face counts shards; a bare number is bytes.
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class ByteSize(click.ParamType):  # type: ignore[type-arg]  # click 8.1 has no parameter there
    """``5GB``, ``200 MB``, ``1000000``: a positive number of bytes."""

    name = "SIZE"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes."""
        match = re.fullmatch(r"\s*(\d{1,18})\s*([kmgt]?)b?\s*", str(value), re.IGNORECASE)
        if match is None or not int(match[1]):
            self.fail(f"{value!r} is no size: write 5GB, 200MB or a number of bytes.", param, ctx)
        return int(match[1]) * _UNITS[match[2].upper()]
