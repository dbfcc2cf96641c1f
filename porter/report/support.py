"""The support table: a row per mapping table, as Markdown, and the notes on it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

from porter.networks.catalogue import PREFIX
from porter.parity.measurements import Measurement, support, worst_of
from porter.report.name_lists import collapsed
from porter.tables.variants import Variant

# More names than this are written as what they begin with.
_SPELLED_OUT = 3

_HEADER = ("Source", "Status", "Worst float64 error", "Networks (variant names)", "PyTorch")


def support_table(
    variants: Iterable[Variant], measured: Mapping[str, Measurement], folder: Path | None = None
) -> str:
    """Return the table, one row per family and status, and the notes that its rows refer to.

    Args:
        variants: In the order of their tables.
        measured: Live measurements by variant.
        folder: Where the goldens are; those that come with porter if None.
    """
    known = list(variants)
    notes = numbered_notes(known)
    lines = [_row(_HEADER), _row("---" for _ in _HEADER)]
    for _, family in groupby(known, key=lambda variant: variant.table):
        lines.extend(_row(cells) for cells in _family(list(family), measured, notes, folder))
    if notes:
        lines += ["", *(f"- {mark} {note}" for note, mark in notes.items())]
    return "\n".join(lines) + "\n"


def numbered_notes(variants: Iterable[Variant]) -> dict[str, str]:
    """Return what a person should know of the proofs, each with its mark: ``[1]``, ``[2]``, ..."""
    notes = dict.fromkeys(variant.note for variant in variants if variant.note)
    return {note: f"[{number}]" for number, note in enumerate(notes, 1)}


def _family(
    variants: list[Variant],
    measured: Mapping[str, Measurement],
    notes: Mapping[str, str],
    folder: Path | None,
) -> Iterator[tuple[str, ...]]:
    by_status: dict[str, list[Variant]] = {}
    for variant in variants:
        by_status.setdefault(support(variant, measured, folder).value, []).append(variant)
    for status, members in by_status.items():
        worst = worst_of(members, measured)
        targets = list(dict.fromkeys(variant.target.name for variant in members))
        yield (
            members[0].title,
            " ".join(filter(None, (status, notes.get(members[0].note)))),
            "" if worst is None else f"{worst:.1e}",
            ", ".join(f"`{name}`" for name in collapsed([variant.name for variant in members])),
            _shortened(targets),
        )


def _shortened(names: list[str]) -> str:
    """Name a few models; of many say what their names begin with, porter's own apart from timm's."""
    own = [name for name in names if name.startswith(PREFIX)]
    kinds = [own, [name for name in names if name not in own]]
    return ", ".join(name for kind in kinds if kind for name in _common(kind))


def _common(names: list[str]) -> list[str]:
    prefix = os.path.commonprefix(names)  # noqa: RUF071 (names, not paths)
    if len(names) > _SPELLED_OUT and prefix:
        return [f"`{prefix}*`"]
    return [f"`{name}`" for name in collapsed(names)]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
