"""Plain aligned columns: what a pipe, a pager and 100,000 lines can take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the header and the rows, each column as wide as its longest entry, the last one ragged."""
    table = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)][:-1]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join([*cells, row[-1]])
