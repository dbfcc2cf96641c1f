"""Stopping at the first fault of a table, or collecting them all for its author."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from porter.errors import TableError


class Faults:
    """What is wrong with a table.

    Args:
        collect: Whether to go on after a fault; if not, the first one is raised.
    """

    def __init__(self, *, collect: bool = False) -> None:
        self._collect = collect
        self.found: list[TableError] = []

    @property
    def count(self) -> int:
        """How many faults were collected."""
        return len(self.found)

    @contextmanager
    def catch(self) -> Iterator[None]:
        """Collect a `TableError` of the block and go on after it; raise it if faults end the reading."""
        try:
            yield
        except TableError as error:
            if not self._collect:
                raise
            self.found.append(error)
