"""The rows of an agreement, read when a test asks: pyarrow may not be installed."""

from __future__ import annotations


def rows_of(report):
    """Return every row of a report."""
    from porter.agreement.row_table import read_table

    return list(read_table(report.rows))
