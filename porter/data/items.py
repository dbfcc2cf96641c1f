"""One image of a data set, and a few that are read together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

Label = int | str

# What people store images as; a file with another ending in a folder is no image.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")


class Item(NamedTuple):
    """One image, as it is stored.

    Attributes:
        key: What it is called; the same whenever the data set is opened.
        label: Number or name of its class, or None.
        encoded: The image file's bytes; empty if they cannot be read.
        fault: Why they cannot be read, or "".
    """

    key: str
    label: Label | None
    encoded: bytes
    fault: str = ""


class Entry(NamedTuple):
    """An image file of a folder or a list.

    Attributes:
        key: As of `Item`.
        path: Where it lies.
        label: As of `Item`.
    """

    key: str
    path: str
    label: Label | None


@dataclass(frozen=True, slots=True)
class Part:
    """Images that are read and worked on together, so few that a process holds them at once.

    It goes to another process as JSON, and says everything that is needed to read the images there.

    Attributes:
        number: Of the part in the data set, from 0.
        index: Of its first image in the data set, from 0.
        count: How many images it has.
        kind: ``"files"``, ``"parquet"`` or ``"tar"``.
        file: The Parquet file or tar; "" for files.
        place: Parquet: the row of the first image. Tar: the offset of its first member.
        entries: The files.
    """

    number: int
    index: int
    count: int
    kind: str
    file: str = ""
    place: int = 0
    entries: tuple[Entry, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the part as JSON-ready data."""
        return asdict(self)

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> Part:
        """Read what `to_json` wrote."""
        entries = tuple(Entry(*entry) for entry in described["entries"])
        return cls(**{**described, "entries": entries})


class DataSet(Protocol):
    """Images in an order that is the same whenever they are opened."""

    @property
    def words(self) -> str:
        """What it is, for people."""

    def parts(self, size: int) -> Iterator[Part]:
        """Divide it into parts of at most `size` images, without reading any image."""
