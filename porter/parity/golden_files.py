"""Where the goldens are."""

from __future__ import annotations

from pathlib import Path

from porter.core.data_files import shipped_folder
from porter.tables.variants import Variant


def golden_folder() -> Path:
    """Return the folder of the goldens that come with porter."""
    return shipped_folder("golden")


def golden_path(variant: Variant, folder: Path | None = None) -> Path:
    """Return where the golden of a variant is kept."""
    return (folder or golden_folder()) / f"{variant.name}.safetensors"
