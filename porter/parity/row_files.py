"""The rows of an agreement on disk: a file for each part of the data set, there whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

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
    write_described(folder, part, [row.to_json() for row in rows])


def write_described(folder: Path, part: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a part's rows, given as JSON-ready data; as `write_rows`."""
    lines = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
    write_whole(row_path(folder, part), lines)


def finished_parts(folder: Path) -> set[int]:
    """Return the parts whose rows are there."""
    return {int(path.stem) for path in folder.glob("*.jsonl") if path.stem.isdigit()}


def read_rows(folder: Path, parts: Sequence[int]) -> Iterator[ImageRow]:
    """Read the rows of parts, in order, holding one at a time.

    Raises:
        OutputError: a file is not one that `write_rows` wrote.
    """
    for part in parts:
        yield from rows_of_file(row_path(folder, part))


def read_described(folder: Path, parts: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Read the rows of parts as JSON-ready data; as `read_rows`."""
    for part in parts:
        yield from _lines(row_path(folder, part))


def rows_of_file(path: Path) -> Iterator[ImageRow]:
    """Read a file of rows.

    Raises:
        OutputError: it is not one that `write_rows` wrote.
    """
    try:
        for described in _lines(path):
            yield ImageRow.from_json(described)
    except (TypeError, AttributeError) as error:
        raise _no_rows(path, error) from None


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)
    except (OSError, ValueError) as error:
        raise _no_rows(path, error) from None


def _no_rows(path: Path, error: Exception) -> OutputError:
    return OutputError("agree/rows", f"cannot be read as rows ({error})", file=path)
