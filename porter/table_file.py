"""Which mapping tables there are: those that come with porter, and those that a person gives."""

from __future__ import annotations

from pathlib import Path

from porter.errors import TableError
from porter.table_reader import read_table
from porter.tables import Tables, Variant


def mappings_folder() -> Path:
    """Return the folder of the tables that come with porter: inside a wheel, or beside a checkout."""
    packaged = Path(__file__).parent / "mappings"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "mappings"


def load_tables(*files: Path) -> Tables:
    """Read mapping tables.

    Args:
        *files: Table files; every table that comes with porter where none is given.

    Raises:
        TableError: a table is malformed or contradicts itself.
    """
    variants: dict[str, Variant] = {}
    for file in files or sorted(mappings_folder().glob("*/*.toml")):
        for name, variant in read_table(Path(file)).items():
            if name in variants:
                raise TableError(
                    "table/duplicate", f"variant {name!r} is also in {variants[name].table}", file=file
                )
            variants[name] = variant
    return Tables(variants)
