"""Where the goldens are."""

from __future__ import annotations

from pathlib import Path

from porter.tables import Variant


def golden_folder() -> Path:
    """Return the folder of the goldens that come with porter: inside a wheel, or beside a checkout."""
    packaged = Path(__file__).parent / "golden"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "golden"


def golden_path(variant: Variant, folder: Path | None = None) -> Path:
    """Return where the golden of a variant is kept."""
    return (folder or golden_folder()) / f"{variant.name}.safetensors"
