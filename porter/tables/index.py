"""The index of the tables that come with porter: which variants there are, and a few variables of each.

A port reads the index, asks which variants a checkpoint can hold at all, and parses and expands those alone.
The index is derived from the tables and never trusted beyond that: it carries the SHA-256 of every table
file, and where one differs the tables are read in full. ``python -m porter.tables.index`` makes it anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from porter.core.data_files import shipped_folder
from porter.tables.known_tables import Signature, Tables, leading_name
from porter.tables.reader import TableFile, excerpt, read_table
from porter.tables.table_records import Dim
from porter.tables.variants import Variant

NAME = "index.json"
_SCHEMA = 3
# Variables per variant. The first ones rule out most of the other variants, so more would hardly help.
_PAIRS = 4
_FIRST_KERNELS = 3

_Pair = tuple[str, tuple[Dim, ...]]


class _Variants(Mapping[str, Variant]):
    """Variants by name, each parsed and expanded when it is asked for."""

    def __init__(self, places: Mapping[str, tuple[Path, str]]) -> None:
        self._places = places  # file and text by name of the variant
        self._known: dict[str, Variant] = {}

    def __getitem__(self, name: str) -> Variant:
        if name not in self._known:
            file, text = self._places[name]
            self._known[name] = TableFile(file, excerpt(text, name))[name]
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places


def mappings_folder() -> Path:
    """Return the folder of the tables that come with porter."""
    return shipped_folder("mappings")


def indexed_tables(folder: Path) -> Tables | None:
    """Return the tables below `folder` without reading more than the index says is needed.

    Returns:
        The tables; None if there is no index, or it is not that of these files.
    """
    found = _read_json(folder / NAME)
    texts = {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.glob("*/*.toml"))
    }
    if found.get("schema") != _SCHEMA or _digests(texts) != found.get("files"):
        return None
    places, signatures = {}, {}
    for relative, variants in found["variants"].items():
        text = texts[relative].decode()
        for name, row in variants.items():
            places[name] = (folder / relative, text)
            pairs = tuple((path, tuple(shape)) for path, shape in row["pairs"])
            first = tuple(map(tuple, row["first"]))
            signatures[name] = Signature(pairs, frozenset(row["leading_names"]), first)
    return Tables(_Variants(places), signatures)


def make_index(folder: Path) -> str:
    """Return the text of the index of every table below `folder`.

    Raises:
        TableError: a table is malformed or contradicts itself.
    """
    files = sorted(folder.glob("*/*.toml"))
    tables = {file.relative_to(folder).as_posix(): read_table(file) for file in files}
    pairs = {name: _required(variant) for table in tables.values() for name, variant in sorted(table.items())}
    lines = [f'"files": {json.dumps(_digests({n: (folder / n).read_bytes() for n in tables}), indent=1)}']
    listed = []
    for relative, table in tables.items():
        rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(_row(name, pairs))}" for name in table)
        listed.append(f" {json.dumps(relative)}: {{\n{rows}\n }}")
    lines.append('"variants": {\n' + ",\n".join(listed) + "\n}")
    return f'{{\n"schema": {_SCHEMA},\n' + ",\n".join(lines) + "\n}\n"


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _digests(texts: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()}


def _required(variant: Variant) -> dict[str, tuple[Dim, ...]]:
    """Return the shape of every variable that a checkpoint must have, by object path below the first part."""
    part = variant.parts[0].name
    return {entry.source: entry.source_shape for entry in variant.entries if entry.part == part}


def _row(name: str, variants: Mapping[str, Mapping[str, tuple[Dim, ...]]]) -> dict[str, object]:
    kernels = [shape for shape in variants[name].values() if len(shape) > 1]
    return {
        "leading_names": sorted(set(map(leading_name, variants[name]))),
        "pairs": _signature(name, variants),
        "first": kernels[:_FIRST_KERNELS],
    }


def _signature(name: str, variants: Mapping[str, Mapping[str, tuple[Dim, ...]]]) -> list[_Pair]:
    """Choose the variables that distinguish a variant from most of the others that have other variables."""
    rest = [other for key, other in variants.items() if key != name]
    chosen: list[_Pair] = []
    while len(chosen) < _PAIRS:
        excluded = {
            pair: [other for other in rest if not _fits(other.get(pair[0]), pair[1])]
            for pair in variants[name].items()
            if pair not in chosen
        }
        best = max(excluded, key=lambda pair: len(excluded[pair]))
        if chosen and not excluded[best]:
            break
        chosen.append(best)
        gone = set(map(id, excluded[best]))
        rest = [other for other in rest if id(other) not in gone]
    return chosen


def _fits(shape: tuple[Dim, ...] | None, wanted: tuple[Dim, ...]) -> bool:
    if shape is None or len(shape) != len(wanted):
        return False
    return all(isinstance(a, str) or isinstance(b, str) or a == b for a, b in zip(shape, wanted, strict=True))


if __name__ == "__main__":
    (mappings_folder() / NAME).write_text(make_index(mappings_folder()), encoding="utf-8")
