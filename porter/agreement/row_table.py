"""Rows as a Parquet file, written and read a few thousand at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from porter.errors import OutputError
from porter.parity.image_row import ImageRow

_AT_ONCE = 4096
_SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("part", pa.int64()),
        ("key", pa.string()),
        ("label", pa.string()),
        ("fault", pa.string()),
        ("source_best", pa.list_(pa.int32())),
        ("source_probabilities", pa.list_(pa.float64())),
        ("ported_best", pa.list_(pa.int32())),
        ("ported_probabilities", pa.list_(pa.float64())),
        *((name, pa.float64()) for name in ("difference", "decode", "resize", "network", "divergence")),
        *((name, pa.float64()) for name in ("decoded_pixels", "resized_pixels")),
        ("turned", pa.bool_()),
    ]
)


_PREDICTIONS = pa.schema(
    [
        ("index", pa.int64()),
        ("key", pa.string()),
        ("label", pa.string()),
        ("fault", pa.string()),
        ("classes", pa.list_(pa.int32())),
        ("names", pa.list_(pa.string())),
        ("probabilities", pa.list_(pa.float64())),
    ]
)


def write_predictions(path: Path, rows: Iterator[Mapping[str, Any]]) -> None:
    """Write what a network sees in images as Parquet."""
    with parquet.ParquetWriter(path, _PREDICTIONS) as writer:
        while some := list(islice(rows, _AT_ONCE)):
            written = [{**row, "key": _utf8(row["key"]), "label": _utf8(row["label"])} for row in some]
            writer.write_table(pa.Table.from_pylist(written, schema=_PREDICTIONS))


def write_table(path: Path, rows: Iterator[ImageRow]) -> None:
    """Write rows as Parquet; a label is stored as JSON, for it may be a number or a name."""
    with parquet.ParquetWriter(path, _SCHEMA) as writer:
        while some := list(islice(rows, _AT_ONCE)):
            described = [
                {**row.to_json(), "key": _utf8(row.key), "label": _stored(row.label)} for row in some
            ]
            writer.write_table(pa.Table.from_pylist(described, schema=_SCHEMA))


def read_table(path: Path) -> Iterator[ImageRow]:
    """Read what `write_table` wrote.

    Raises:
        OutputError: it is damaged.
    """
    try:
        for batch in parquet.ParquetFile(path).iter_batches(batch_size=_AT_ONCE):
            for row in batch.to_pylist():
                label = None if row["label"] is None else json.loads(row["label"])
                yield ImageRow.from_json({**row, "label": label})
    except (OSError, pa.ArrowException, ValueError, TypeError) as error:
        raise OutputError("agree/rows", f"cannot be read as rows ({error})", file=path) from None


def _utf8(text: str | None) -> str | None:
    """Return a text with what UTF-8 cannot say escaped: names of files may be bytes that are no text."""
    return None if text is None else text.encode(errors="backslashreplace").decode()


def _stored(label: int | str | None) -> str | None:
    return None if label is None else json.dumps(label)
