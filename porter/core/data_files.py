"""Where the data that comes with porter is."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def shipped_folder(name: str) -> Path:
    """Return a folder of data by its name: inside a wheel, or beside a checkout."""
    packaged = _PACKAGE / name
    return packaged if packaged.is_dir() else _PACKAGE.parent / name


def inside_package(path: Path) -> bool:
    """Whether a path lies in the folder that porter itself is installed in."""
    return path.resolve().is_relative_to(_PACKAGE.resolve())
