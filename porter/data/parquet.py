"""Images in Parquet files: a column of image bytes, as it is or as Hugging Face's {bytes, path}."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from porter.data.items import Item, Label, Part
from porter.errors import DataError, MissingDependencyError, not_installed

_IMAGES = ("image", "img", "image_bytes", "bytes", "content", "jpg", "jpeg", "png")
_LABELS = ("label", "labels", "cls", "class", "class_id", "target", "fine_label")
_READ_AT_ONCE = 16


class _Columns(NamedTuple):
    image: str
    label: str | None


class ParquetFiles:
    """Images of Parquet files, one a row.

    Attributes:
        class_names: What the labels' numbers stand for, as Hugging Face's ClassLabel says; or nothing.

    Args:
        files: The files, in order.

    Raises:
        MissingDependencyError: pyarrow is not installed.
        DataError: a file is damaged, or has not one column of images.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        first = _opened(files[0])
        label = _columns(files[0], first).label
        self._labelled = label is not None
        self.class_names = () if label is None else _class_names(first.schema_arrow.metadata, label)

    @property
    def words(self) -> str:
        """What it is, for people."""
        count = len(self._files)
        name = self._files[0].name if count == 1 else f"{count} Parquet files"
        return f"{name}, {'with' if self._labelled else 'no'} labels"

    def parts(self, size: int) -> Iterator[Part]:
        """Divide it into parts of at most `size` rows of one file."""
        number = index = 0
        for file in self._files:
            opened = _opened(file)
            _columns(file, opened)
            rows = opened.metadata.num_rows
            for place in range(0, rows, size):
                count = min(size, rows - place)
                yield Part(number, index, count, "parquet", str(file.absolute()), place)
                number, index = number + 1, index + count


def read_parquet(part: Part) -> Iterator[Item]:
    """Read the rows of a part.

    Raises:
        DataError: the file has changed or is damaged.
    """
    file = Path(part.file)
    columns = _columns(file, opened := _opened(file))
    rows = _rows(opened, part.place, columns)
    try:
        for number, row in enumerate(islice(rows, part.count), part.place):
            yield _item(f"{file.name}#{number}", row[columns.image], row.get(columns.label))
    except OSError as error:  # pyarrow's own errors for damaged files are of this kind
        raise _damaged(file, error) from None


def _rows(opened: Any, place: int, columns: _Columns) -> Iterator[dict[Any, Any]]:
    """Yield the rows from `place` on; row groups before it are not read."""
    before = 0
    for group in range(opened.num_row_groups):
        length = opened.metadata.row_group(group).num_rows
        if before + length > place:
            yield from _rows_of_group(opened, group, max(0, place - before), columns)
        before += length


def _rows_of_group(opened: Any, group: int, skipped: int, columns: _Columns) -> Iterator[dict[Any, Any]]:
    wanted = [name for name in columns if name is not None]
    for batch in opened.iter_batches(batch_size=_READ_AT_ONCE, row_groups=[group], columns=wanted):
        if skipped >= len(batch):
            skipped -= len(batch)
            continue
        yield from batch.slice(skipped).to_pylist()
        skipped = 0


def _item(key: str, image: Any, label: Any) -> Item:
    encoded = image.get("bytes") if isinstance(image, dict) else image
    if encoded:
        return Item(key, _label(label), encoded)
    path = image.get("path") if isinstance(image, dict) else None
    fault = f"the row holds no bytes, only the path {path}" if path else "is empty"
    return Item(key, _label(label), b"", fault)


def _label(stored: Any) -> Label | None:
    """Return a label as a number or a name; a column with gaps has its numbers as 3.0, and NaN."""
    if isinstance(stored, bool):
        return int(stored)
    if isinstance(stored, float):
        return int(stored) if stored.is_integer() else None
    return stored if isinstance(stored, int | str) else None


def _class_names(stored: dict[bytes, bytes] | None, label: str) -> tuple[str, ...]:
    """Return the names of Hugging Face's ClassLabel, in the order of its numbers; nothing without one."""
    try:
        feature = json.loads((stored or {})[b"huggingface"])["info"]["features"][label]
        return tuple(map(str, feature["names"])) if feature["_type"] == "ClassLabel" else ()
    except (KeyError, TypeError, ValueError):
        return ()


def _opened(file: Path) -> Any:
    try:
        import pyarrow as pa  # noqa: PLC0415  (only who has Parquet needs it)
        from pyarrow import parquet  # noqa: PLC0415  (as above)
    except ImportError:
        raise MissingDependencyError(
            "data/no-pyarrow", not_installed(["pyarrow"]), hint="pip install 'port-weights[data]'"
        ) from None
    try:
        return parquet.ParquetFile(file)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(file, error) from None


def _damaged(file: Path, error: Exception) -> DataError:
    said = str(error).splitlines()
    return DataError("data/unreadable", f"cannot be read as Parquet ({said[0]})", file=file)


def _columns(file: Path, opened: Any) -> _Columns:
    """Find the columns of images and labels by their types and names."""
    schema = opened.schema_arrow
    images = [field.name for field in schema if _holds_bytes(field.type)]
    named = [name for name in _IMAGES if name in images]
    if len(images) != 1 and len(named) != 1:
        raise DataError(
            "data/columns",
            "has not one column of image bytes",
            file=file,
            expected=f"one, or one that is called {', '.join(_IMAGES)}",
            found=", ".join(images) or f"the columns {', '.join(schema.names)}",
        )
    label = next((name for name in _LABELS if name in schema.names), None)
    return _Columns(images[0] if len(images) == 1 else named[0], label)


def _holds_bytes(kind: Any) -> bool:
    from pyarrow import types  # noqa: PLC0415  (as above)

    if types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))
