"""A mapping table file to variants: strict TOML in, each variant expanded when it is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from porter.errors import TableError
from porter.tables.family_section import SCHEMA, Family, read_family
from porter.tables.faults import Faults
from porter.tables.strict_toml import Section, parse_toml, read_text
from porter.tables.variant_section import read_variant
from porter.tables.variants import Variant

_HEADING = re.compile(r"^(?=\[)", re.MULTILINE)


class TableFile(Mapping[str, Variant]):
    """The variants of one table file by name, in the file's order.

    Args:
        file: The file, for messages.
        text: What is in it.

    Raises:
        TableError: what the variants share is malformed.
    """

    def __init__(self, file: Path, text: str) -> None:
        top, sections = _open(file, text)
        self._faults = Faults()
        self._family = read_family(top, self._faults)
        self._sections = sections
        self._variants: dict[str, Variant] = {}
        self._used: set[tuple[str, str]] = set()

    def __getitem__(self, name: str) -> Variant:
        """Return a variant, expanding it the first time.

        Raises:
            TableError: it is malformed or contradicts itself.
        """
        if name not in self._variants:
            found = read_variant(name, self._sections[name], self._family, self._faults, self._used)
            if found is not None:  # it is: a fault would have been raised
                self._variants[name] = found
        return self._variants[name]

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self._sections)

    def __len__(self) -> int:
        """Return how many variants there are."""
        return len(self._sections)

    def expand(self) -> None:
        """Expand every variant, and see that every rule of the file is of use.

        Raises:
            TableError: a variant is malformed, or a rule never applies.
        """
        for name in self:
            self[name]
        for fault in _unused(self._family, self._used):
            raise fault


def read_table(file: Path) -> TableFile:
    """Read one table file in full.

    Raises:
        TableError: the table is malformed or contradicts itself.
    """
    table = TableFile(file, read_text(file))
    table.expand()
    return table


def find_faults(file: Path) -> tuple[list[TableError], list[Variant]]:
    """Read a table for its author: everything that is wrong with it, and the variants that are not."""
    faults = Faults(collect=True)
    variants: list[Variant] = []
    with faults.catch():
        top, sections = _open(file, read_text(file))
        family = read_family(top, faults)
        used: set[tuple[str, str]] = set()
        for name, section in sections.items():
            variant = read_variant(name, section, family, faults, used)
            if variant is not None:
                variants.append(variant)
        if not faults.count:
            faults.found.extend(_unused(family, used))
    return faults.found, variants


def excerpt(text: str, variant: str) -> str:
    """Return a table's text without the variants other than one: most of a table is read for nothing.

    Sections begin at lines with a bracket in front, which in a table of porter's own only headings have.
    """
    own = (f"[variant.{variant}]", f"[variant.{variant}.")
    return "".join(
        part for part in _HEADING.split(text) if not part.startswith("[variant.") or part.startswith(own)
    )


def _open(file: Path, text: str) -> tuple[Section, dict[str, Section]]:
    top = parse_toml(file, text)
    if (schema := top.take("schema", int)) != SCHEMA:
        raise top.error("table/schema", "schema", expected=SCHEMA, found=schema)
    return top, dict(top.section("variant").sections())


def _unused(family: Family, used: set[tuple[str, str]]) -> Iterator[TableError]:
    for template in family.templates.values():
        for rule in template.rules:
            if (template.name, rule.source) not in used:
                where = f"[template.{template.name}.rules] {rule.source!r}"
                yield TableError(
                    "table/unused-rule", f"{where} never applies to any variant", file=family.file
                )
