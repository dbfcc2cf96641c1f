"""V1 checkpoints as a container: one file, or several that are numbered."""

from __future__ import annotations

import re
from pathlib import Path

from porter.checkpoints.container import Container
from porter.checkpoints.tensorflow.tables import is_v1, names_in
from porter.core.checkpoint import Checkpoint
from porter.errors import CheckpointError
from porter.formats import magic

_NUMBERED = r"(.+)-(\d{5}|\?{5})-of-(\d{5})"
_MOST_FILES = 100_000


class V1Files(Container):
    """The checkpoint format of TensorFlow 1 before V2."""

    title = "a V1 checkpoint"

    def is_mine(self, file: Path) -> bool:
        """Whether it is a table of tensor slices."""
        return is_v1(file)

    def open(self, path: Path, file: Path, within: str = "") -> Checkpoint:
        """Open the checkpoint that `file` is one file of, `within` another container if that is named."""
        from porter.checkpoints.tensorflow.v1 import TensorSlices  # noqa: PLC0415  (TensorBundles need none of it)

        files = _all_files(path, file)
        for part in files:
            magic.refuse_pointer(part)
        return TensorSlices(path, files, f"{within}, V1 variables" if within else "V1 checkpoint")

    def named_by(self, prefix: Path) -> Path | None:
        """Return the file called `prefix`, or the first that is found of the numbered ones."""
        if magic.exists(prefix) and not prefix.is_dir():
            return prefix
        names = names_in(prefix.parent)
        first = next((name for name in names if without_number(name) == prefix.name), None)
        return None if first is None else prefix.with_name(first)


def without_number(name: str) -> str | None:
    """Return the prefix in the name of a numbered file, or None if `name` has no number."""
    match = re.fullmatch(_NUMBERED, name, re.DOTALL) if "-of-" in name else None
    return None if match is None else match[1]


def _all_files(path: Path, file: Path) -> tuple[Path, ...]:
    match = re.fullmatch(_NUMBERED, file.name, re.DOTALL)
    if match is None:
        return (file,)
    count = int(match[3])
    files = tuple(file.with_name(f"{match[1]}-{n:05d}-of-{match[3]}") for n in range(min(count, _MOST_FILES)))
    present = set(names_in(file.parent))
    missing = next((part for part in files if part.name not in present), None)
    if missing is not None or not files:
        raise CheckpointError(
            "v1/missing-file",
            "a file of this V1 checkpoint is missing",
            file=path,
            expected=f"{count} files",
            found=f"{sum(part.name in present for part in files)}",
            hint=f"Put {(missing or file).name} beside the others.",
        )
    return files
