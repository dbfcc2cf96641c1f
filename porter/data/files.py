"""Image files: those of a folder, with the names of its subfolders as labels, or those of a list."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from porter.data.items import IMAGE_SUFFIXES, Entry, Item, Label, Part
from porter.errors import DataError

_LABELLED = re.compile(rf"(.+(?:{'|'.join(map(re.escape, IMAGE_SUFFIXES))}))[\s,;]+(.+)", re.IGNORECASE)
_FEWEST_CLASSES = 2
# What lies in a folder that porter writes while it works on images; none of it is data.
OF_A_RUN = ("parts.jsonl", "run.json")


def is_image(name: str) -> bool:
    """Whether a file is called as images are."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def walk(folder: Path, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the path of every file below a folder, relative to it and in order; hidden ones are left out.

    So is what a run of porter's has written there. Links are followed, but not round in circles.

    Raises:
        DataError: a folder cannot be listed.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        found = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError("data/unreadable", f"cannot be listed ({error.strerror})", file=folder) from None
    if {entry.name for entry in found}.issuperset(OF_A_RUN):
        return
    for entry in found:
        if entry.name.startswith("."):
            continue
        if _is_folder(entry):
            below = walk(Path(entry.path), (*above, real))
            yield from (f"{entry.name}/{path}" for path in below)
        else:
            yield entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself: reading it says so
        return False


class ImageFolder:
    """Every image file below a folder.

    Where all of them lie in two or more subfolders, the subfolder's name is the label, as torchvision's
    ImageFolder and Keras's image_dataset_from_directory have it.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        classes, at_top = set(), False
        for path in walk(folder):
            if is_image(path):
                first, below, _ = path.partition("/")
                at_top |= not below
                classes.add(first if below else "")
        self._labelled = not at_top and len(classes) >= _FEWEST_CLASSES
        self._classes = len(classes)

    @property
    def words(self) -> str:
        """What it is, for people."""
        if self._labelled:
            return f"folder {self._folder.name}, labels by its {self._classes} subfolders"
        return f"folder {self._folder.name}, no labels"

    def parts(self, size: int) -> Iterator[Part]:
        """Divide it into parts of at most `size` images."""
        return _parts(self._entries(), size)

    def _entries(self) -> Iterator[Entry]:
        for path in walk(self._folder):
            if is_image(path):
                label = path.partition("/")[0] if self._labelled else None
                yield Entry(path, str(self._folder.absolute() / path), label)


class FileList:
    """Image files that a text file names, one a line, with or without a label behind.

    Args:
        path: The list; its paths are relative to its folder.

    Raises:
        DataError: it is no text.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._labelled = any(entry.label is not None for entry in self._entries())

    @property
    def words(self) -> str:
        """What it is, for people."""
        return f"list {self._path.name}, {'with' if self._labelled else 'no'} labels"

    def parts(self, size: int) -> Iterator[Part]:
        """Divide it into parts of at most `size` images."""
        return _parts(self._entries(), size)

    def _entries(self) -> Iterator[Entry]:
        folder = self._path.absolute().parent
        try:
            with self._path.open(encoding="utf-8-sig") as lines:
                for line in lines:
                    if named := line.strip():
                        name, label = _named(named)
                        yield Entry(name, str(folder / name), label)
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                "data/unreadable",
                f"cannot be read as a list of image files ({error})",
                file=self._path,
                hint="DATA is a folder, an image, Parquet, a .tar, or a text file with a path a line.",
            ) from None


class OneImage:
    """A single image file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def words(self) -> str:
        """What it is, for people."""
        return f"one image, {self._path.name}"

    def parts(self, size: int) -> Iterator[Part]:
        """Return the one part."""
        return _parts([Entry(self._path.name, str(self._path.absolute()), None)], size)


def read_files(part: Part) -> Iterator[Item]:
    """Read the image files of a part."""
    for key, path, label in part.entries:
        try:
            yield Item(key, label, Path(path).read_bytes())
        except (OSError, ValueError) as error:  # no path has a zero byte, which Python says with a ValueError
            yield Item(key, label, b"", f"cannot be read ({getattr(error, 'strerror', error)})")


def number_or_name(text: str) -> Label:
    """Return a label as a number if it is one."""
    return int(text) if text.isascii() and text.isdigit() else text


def _named(line: str) -> tuple[str, Label | None]:
    if is_image(line):
        return line, None
    if found := _LABELLED.fullmatch(line):
        return found[1], number_or_name(found[2])
    path, *label = line.rsplit(None, 1)
    return path, number_or_name(label[0]) if label else None


def _parts(entries: Iterable[Entry], size: int) -> Iterator[Part]:
    left, number, index = iter(entries), 0, 0
    while some := tuple(islice(left, size)):
        yield Part(number, index, len(some), "files", entries=some)
        number, index = number + 1, index + len(some)
