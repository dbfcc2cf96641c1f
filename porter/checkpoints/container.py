"""What a container says of itself: which paths are its own, by content, and how it is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from porter.core.checkpoint import Checkpoint
from porter.errors import CheckpointError


class Container(Protocol):
    """A way of keeping weights in files. A subclass says only what holds for it.

    Opening any checkpoint imports all of them, so what takes long to import is imported in `open`.

    Attributes:
        title: What it is called where porter lists what it reads.
    """

    title: str

    def is_mine(self, file: Path) -> bool:
        """Whether the regular file `file` is of this container, by its content.

        Raises:
            CheckpointError: the file cannot be read.
        """
        ...

    def open(self, path: Path, file: Path) -> Checkpoint:
        """Open the checkpoint that `file` belongs to.

        Args:
            path: The path as the caller gave it.
            file: One that `is_mine` accepts, or that `named_by` or `in_directory` returned.

        Raises:
            CheckpointError: it is damaged or incomplete.
        """
        ...

    def named_by(self, prefix: Path) -> Path | None:  # noqa: ARG002  (only some files are named by a prefix)
        """Return the file to open if `prefix` is what the names of its files begin with.

        Raises:
            CheckpointError: some of the files are there, and the one to open is not.
        """
        return None

    def in_directory(self, directory: Path) -> Path | None:  # noqa: ARG002  (only some have a directory)
        """Return the file to open if `directory` is one of this container.

        Raises:
            CheckpointError: there are several, and nothing to choose by.
        """
        return None

    def refusal(self, path: Path, file: Path) -> CheckpointError | None:  # noqa: ARG002  (few are mistaken)
        """Return what to say of a file that no container accepts and that is near to this one.

        Raises:
            CheckpointError: the file is damaged, and how.
        """
        return None
