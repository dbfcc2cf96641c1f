"""Tables are data: the code that one names is run only if the person says so."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from porter.errors import TableError


def require_trust(
    names: Collection[str], file: Path | str | None, *, trust_table: bool, chosen: Collection[str] = ()
) -> None:
    """Refuse to run code that a file names and the person did not.

    Args:
        names: Functions that would be run, ``"package.module:function"``.
        file: The table, or the ported file, that names them.
        trust_table: Whether the person trusts that file.
        chosen: Functions that the person named.

    Raises:
        TableError: ``table/not-trusted``.
    """
    unknown = [name for name in dict.fromkeys(names) if name not in chosen]
    if unknown and not trust_table:
        raise TableError(
            "table/not-trusted",
            f"names code that would be run: {', '.join(unknown)}",
            file=file,
            hint="If you trust it, pass --trust-table (trust_table=True in Python).",
        )
