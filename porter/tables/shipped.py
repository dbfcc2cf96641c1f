"""Which mapping tables there are: those that come with porter, and those that are passed."""

from __future__ import annotations

from pathlib import Path

from porter.errors import TableError
from porter.tables.index import indexed_tables, mappings_folder
from porter.tables.known_tables import Tables
from porter.tables.reader import read_table
from porter.tables.variants import Variant

__all__ = ["load_tables", "mappings_folder"]


def load_tables(*files: Path) -> Tables:
    """Read mapping tables.

    Args:
        *files: Table files, read in full; the tables that come with porter if none is passed, of which a
            variant is read when it is used.

    Raises:
        TableError: a table is malformed or contradicts itself.

    Example:
        >>> tables = porter.load_tables()
        >>> tables
        Tables of ... networks (...)
        >>> tables.variant("keras_mobilenetv1_025")
        Variant keras_mobilenetv1_025: Keras Applications MobileNet
          keras.application(model='MobileNet', alpha=0.25) -> porter_mobilenetv1_025(pad_type='same')
          137 variables, 15 stages, version 1
    """
    if not files and (tables := indexed_tables(mappings_folder())) is not None:
        return tables
    variants: dict[str, Variant] = {}
    for file in files or sorted(mappings_folder().glob("*/*.toml")):
        for name, variant in read_table(Path(file)).items():
            if name in variants:
                raise TableError(
                    "table/duplicate", f"variant {name!r} is also in {variants[name].table}", file=file
                )
            variants[name] = variant
    return Tables(variants)
