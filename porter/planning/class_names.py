"""Names of the classes, where the source or what lies beside it states them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from porter.core.checkpoint import Checkpoint
from porter.planning.port_options import PortOptions
from porter.planning.recognition import Recognised

if TYPE_CHECKING:
    from porter.planning.own_head import OwnHead

# Teachable Machine's and TensorFlow for Poets' names of the files.
_BESIDE = ("labels.txt", "metadata.json", "retrained_labels.txt")
_MOST_BYTES = 1 << 20
# The last record of a zip file, and how many bytes of the file it lies in at most: a comment may follow it.
_END_MAGIC = b"PK\x05\x06"
_ARCHIVE_END = (1 << 16) + 22


class ClassNames(NamedTuple):
    """One name for each class.

    Attributes:
        names: By class.
        source: Where they stand: ``"labels.txt beside the source"``.
    """

    names: tuple[str, ...]
    source: str


def class_names(
    checkpoint: Checkpoint, match: Recognised, head: OwnHead | None, options: PortOptions
) -> ClassNames | None:
    """Return the names that a TFLite file or an archive holds, or that a file beside the source lists.

    A list of another length is of something else, and is passed over.

    Args:
        checkpoint: The source.
        match: The network that was recognised.
        head: The source's own, if it has one; its last outputs are the classes then.
        options: Whether the port leaves the background class out, and so its name.
    """
    classes = match.lengths.get("classes")
    for step in () if head is None else head.steps:
        if "outputs" in step.attributes:
            classes = int(str(step.attributes["outputs"]))
    for names, source in _lists(checkpoint) if classes else ():
        if len(names) == classes:
            return ClassNames(tuple(names[options.classes != "all" :]), source)
    return None


def without_numbers(names: Sequence[str]) -> list[str]:
    """Return names without the numbers in front, as Teachable Machine writes them, if they count on."""
    if all(name.startswith(f"{number} ") for number, name in enumerate(names)):
        return [name.partition(" ")[2] for name in names]
    return list(names)


def _lists(checkpoint: Checkpoint) -> Iterator[tuple[list[str], str]]:
    if not checkpoint.files:
        return
    file = checkpoint.files[0]
    if _may_be_archive(file):
        yield from _inside(file)
    folder = checkpoint.path if checkpoint.path.is_dir() else file.parent
    for name in _BESIDE:
        try:
            with (folder / name).open("rb") as stored:
                yield _names(name, stored.read(_MOST_BYTES)), f"{name} beside the source"
        except (OSError, ValueError):  # none there, or of something else
            continue


def _may_be_archive(file: Path) -> bool:
    """Whether a zip file may end here, whatever stands in front of it: a TFLite file's labels follow it."""
    try:
        with file.open("rb") as stored:
            stored.seek(max(0, file.stat().st_size - _ARCHIVE_END))
            return _END_MAGIC in stored.read()
    except OSError:
        return False


def _inside(file: Path) -> Iterator[tuple[list[str], str]]:
    import zipfile  # noqa: PLC0415  (it takes longer to import than most plans to make)

    if not zipfile.is_zipfile(file):
        return
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                if member.filename.endswith((".txt", "metadata.json")) and member.file_size < _MOST_BYTES:
                    yield _names(member.filename, archive.read(member)), f"{member.filename} in the source"
    except (OSError, ValueError, zipfile.BadZipFile, RuntimeError, NotImplementedError):
        return


def _names(file: str, content: bytes) -> list[str]:
    text = content.decode("utf-8-sig")
    if not file.endswith(".json"):
        return without_numbers([line.strip() for line in text.splitlines()])
    stated = json.loads(text)
    names = stated.get("labels") if isinstance(stated, dict) else None
    return [str(name) for name in names] if isinstance(names, list) else []
