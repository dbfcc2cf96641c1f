"""The rows of an agreement on disk: a file for each part of the data set, there whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from porter.errors import OutputError
from porter.parity.image_row import ImageRow
from porter.transfer.atomic_file import write_whole


def row_path(folder: Path, part: int) -> Path:
    """Return the file of a part's rows."""
    return folder / f"{part:08}.jsonl"


def write_rows(folder: Path, part: int, rows: Sequence[ImageRow]) -> None:
    """Write a part's rows, a line of JSON each; written twice, they are there once.

    Raises:
        OutputError: they cannot be written; nothing of them is there.
    """
    lines = "".join(json.dumps(row.to_json(), sort_keys=True) + "\n" for row in rows)
    write_whole(row_path(folder, part), lines)


def finished_parts(folder: Path) -> set[int]:
    """Return the parts whose rows are there."""
    return {int(path.stem) for path in folder.glob("*.jsonl") if path.stem.isdigit()}


def read_rows(folder: Path, parts: Sequence[int]) -> Iterator[ImageRow]:
    """Read the rows of parts, in order, holding one part's at a time.

    Raises:
        OutputError: a file is not one that `write_rows` wrote.
    """
    for part in parts:
        yield from rows_of_file(row_path(folder, part))


def rows_of_file(path: Path) -> Iterator[ImageRow]:
    """Read a file of rows.

    Raises:
        OutputError: it is not one that `write_rows` wrote.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                yield ImageRow.from_json(json.loads(line))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise OutputError("agree/rows", f"cannot be read as rows ({error})", file=path) from None
