"""An option that takes a number of bytes as people write it."""

from __future__ import annotations

import click

from porter.errors import OutputError
from porter.outputs.byte_size import parse_byte_size


class ByteSize(click.ParamType):  # type: ignore[type-arg]  # click 8.1 has no parameter there
    """``5GB``, ``200 MB``, ``1000000``: a positive number of bytes."""

    name = "SIZE"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes."""
        try:
            return parse_byte_size(value)
        except OutputError as error:
            self.fail(f"{error}.", param, ctx)
