"""The networks of porter's own that its mapping tables name, read without torch."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.errors import TableError
from porter.networks.definition import Definition, parse

PREFIX = "porter_"


@dataclass(frozen=True, slots=True)
class Listed:
    """A network as a table names it.

    Attributes:
        name: Its name for `timm.create_model`.
        definition: What it is made of.
        input: Size, mean, std, crop_pct and interpolation of the images, as far as the table says.
    """

    name: str
    definition: Definition
    input: Mapping[str, Any]


def list_networks(folder: Path) -> dict[str, Listed]:
    """Return every network that the tables below `folder` define, by name.

    Only what is needed for that is read: no variant is expanded, so that importing timm stays fast.

    Raises:
        TableError: two tables give one name to different networks.
        OutputError: a definition is malformed.
    """
    found: dict[str, Listed] = {}
    for file in sorted(folder.glob("*/*.toml")):
        for listed in _of_table(file):
            known = found.setdefault(listed.name, listed)
            if known.definition != listed.definition:
                raise TableError(
                    "table/network-name", f"{listed.name!r} is another network elsewhere", file=file
                )
    return found


def _of_table(file: Path) -> Iterator[Listed]:
    text = file.read_text(encoding="utf-8")
    if PREFIX not in text:
        return
    table = tomllib.loads(text)
    for variant in table.get("variant", {}).values():
        stated = {**table.get("network", {}), **variant.get("network", {})}
        if stated:
            images = {**table.get("input", {}), **variant.get("input", {})}
            yield Listed(variant["target"]["model"], parse(stated), images)
