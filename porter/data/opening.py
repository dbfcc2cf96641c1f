"""Opening a data set by what lies at its path, and reading any of its parts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from porter.data.files import FileList, ImageFolder, OneImage, is_image, read_files, walk
from porter.data.items import DataSet, Item, Part
from porter.data.parquet import ParquetFiles, read_parquet
from porter.data.tars import Tars, read_tar
from porter.errors import DataError

_READERS = {"files": read_files, "parquet": read_parquet, "tar": read_tar}
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip", ".tar.zst")
_PART = 16


def open_data(path: str | os.PathLike[str]) -> DataSet:
    """Open a data set.

    Args:
        path: A folder of images, of Parquet files or of tars; one of these files; or a text file with the
            path of an image a line, and its label behind if there is one.

    Raises:
        DataError: there is nothing, no image, or a folder with data of several kinds.
        MissingDependencyError: it is Parquet, and pyarrow is not installed.
    """
    given = Path(path)
    if given.is_dir():
        return _folder(given)
    if not given.is_file():
        raise DataError("data/not-found", "does not exist", file=given)
    name = given.name.lower()
    if name.endswith(_COMPRESSED):
        raise DataError(
            "data/compressed", "a compressed archive is not read", file=given, hint="Unpack it first."
        )
    if is_image(name):
        return OneImage(given)
    if name.endswith(".parquet"):
        return ParquetFiles([given])
    return Tars([given]) if name.endswith(".tar") else FileList(given)


def read_part(part: Part) -> Iterator[Item]:
    """Read the images of a part, one after another.

    Raises:
        DataError: a Parquet file or tar has changed or is damaged.
    """
    return _READERS[part.kind](part)


def stated_class_names(data: DataSet) -> Sequence[str]:
    """Return what a data set itself calls the classes of its labels 0, 1, ...; nothing if it does not say."""
    return data.class_names if isinstance(data, ParquetFiles) else ()


def read_items(data: DataSet) -> Iterator[Item]:
    """Read every image of a data set, holding a few at a time."""
    for part in data.parts(_PART):
        yield from read_part(part)


def _folder(folder: Path) -> DataSet:
    files = [path for path in walk(folder) if not is_image(path)]
    found = {suffix: [folder / path for path in files if path.endswith(suffix)] for suffix in _ARCHIVES}
    kinds = [suffix for suffix, some in found.items() if some]
    has_images = any(is_image(path) for path in walk(folder))
    if len(kinds) + has_images > 1:
        raise DataError(
            "data/mixed",
            "the folder holds data of several kinds",
            file=folder,
            expected="images, Parquet files or tars",
            found=" and ".join([*kinds, *["images"] * has_images]),
        )
    if kinds:
        return _ARCHIVES[kinds[0]](found[kinds[0]])
    if not has_images:
        raise DataError(
            "data/no-images",
            "the folder holds no images",
            file=folder,
            found=f"{len(files)} other files",
        )
    return ImageFolder(folder)


_ARCHIVES: dict[str, Callable[[list[Path]], DataSet]] = {".parquet": ParquetFiles, ".tar": Tars}
