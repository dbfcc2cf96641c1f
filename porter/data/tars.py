"""Images in WebDataset's tars: members of one name and several endings are one sample."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, islice
from pathlib import Path

from porter.data.files import is_image, number_or_name
from porter.data.items import Item, Label, Part
from porter.errors import DataError

_LABELS = ("cls", "cls.txt")


class Tars:
    """Images of tars, one a sample; the label is in the member that ends in ``.cls``.

    Args:
        files: The tars, in order; not compressed.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files

    @property
    def words(self) -> str:
        """What it is, for people."""
        return self._files[0].name if len(self._files) == 1 else f"{len(self._files)} tars"

    def parts(self, size: int) -> Iterator[Part]:
        """Divide it into parts of at most `size` samples of one tar; only the tar's headers are read.

        Raises:
            DataError: a tar is damaged or compressed.
        """
        number = index = 0
        for file in self._files:
            place = count = 0
            for offset in _offsets(file):
                if count == size:
                    yield Part(number, index, count, "tar", str(file.absolute()), place)
                    number, index, count = number + 1, index + count, 0
                place = offset if count == 0 else place
                count += 1
            if count:
                yield Part(number, index, count, "tar", str(file.absolute()), place)
                number, index = number + 1, index + count


def read_tar(part: Part) -> Iterator[Item]:
    """Read the samples of a part.

    Raises:
        DataError: the tar has changed or is damaged.
    """
    file = Path(part.file)
    with _opened(file, part.place) as tar:
        samples = groupby(_members(tar), key=lambda member: _split(member.name)[0])
        items = (_item(tar, f"{file.name}#{key}", members) for key, members in samples)
        yield from islice((item for item in items if item is not None), part.count)


def _item(tar: tarfile.TarFile, key: str, members: Iterator[tarfile.TarInfo]) -> Item | None:
    """Return a sample, or None if it has no image."""
    encoded, label = None, None
    for member in members:
        ending = _split(member.name)[1]
        if encoded is None and is_image(f".{ending}"):
            encoded = _content(tar, member)
        elif ending in _LABELS:
            label = _label(_content(tar, member))
    if encoded is None:
        return None
    return Item(key, label, encoded) if encoded else Item(key, label, b"", "is empty")


def _label(text: bytes) -> Label:
    return number_or_name(text.decode(errors="replace").strip())


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    opened = tar.extractfile(member)
    return opened.read() if opened is not None else b""


def _offsets(file: Path) -> Iterator[int]:
    """Yield where every sample that has an image begins."""
    with _opened(file, 0) as tar:
        for _, members in groupby(_members(tar), key=lambda member: _split(member.name)[0]):
            some = [(member.offset, _split(member.name)[1]) for member in members]
            if any(is_image(f".{ending}") for _, ending in some):
                yield some[0][0]


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the files of a tar but hidden ones, keeping none: the module itself remembers every member.

    Hidden are, among others, the copies of a file's attributes that macOS puts beside it.
    """
    while (member := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # typeshed leaves it out
        if member.isfile() and not member.name.rpartition("/")[2].startswith("."):
            yield member


def _split(name: str) -> tuple[str, str]:
    """Return name and endings; the name ends at the first dot behind the last slash."""
    folder, slash, base = name.rpartition("/")
    stem, _, ending = base.partition(".")
    return f"{folder}{slash}{stem}", ending.lower()


@contextmanager
def _opened(file: Path, offset: int) -> Iterator[tarfile.TarFile]:
    try:
        with file.open("rb") as stored:
            stored.seek(offset)
            with tarfile.open(fileobj=stored, mode="r:") as tar:
                yield tar
    except (OSError, tarfile.TarError, EOFError) as error:
        raise DataError(
            "data/unreadable",
            f"cannot be read as an uncompressed tar ({error})",
            file=file,
        ) from None
