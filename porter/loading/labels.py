"""Names of classes: ImageNet's, or a file's, lined up with a network that has a background class or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from porter.errors import OutputError
from porter.loading.ported_file import Ported
from porter.planning.class_names import without_numbers

_IMAGENET = 1000
BACKGROUND = "background"


class Labels(NamedTuple):
    """One name for each class of a network.

    Attributes:
        names: By class; empty if nobody knows them.
        source: Where they come from, and what was done to them, in words.
    """

    names: Sequence[str]
    source: str

    def name(self, index: int) -> str:
        """Return the name of one class, or its number."""
        return self.names[index] if self.names else f"class {index}"


def labels_of(ported: Ported, classes: int) -> Labels:
    """Return the names that a ported file states, or else ImageNet's if the number of classes says so."""
    stated = ported.class_names
    if stated is None or len(stated.names) != classes:
        return imagenet_labels(classes)
    return Labels(stated.names, stated.source)


def imagenet_labels(classes: int) -> Labels:
    """Return timm's names of the ImageNet classes, if the number of classes says that it is ImageNet.

    Args:
        classes: 1000; or 1001, of which the first is background, as TensorFlow's older networks count.
    """
    if classes not in (_IMAGENET, _IMAGENET + 1):
        return Labels((), f"{classes} classes, which are not ImageNet's: give their names with --labels")
    from timm.data.imagenet_info import ImageNetInfo  # noqa: PLC0415 - timm is optional

    names = [str(name) for name in ImageNetInfo().label_descriptions()]
    if classes == _IMAGENET:
        return Labels(names, "ImageNet's 1000 classes")
    return Labels([BACKGROUND, *names], "1001 classes: class 0 is background, class n is ImageNet's n - 1")


def names_of_file(path: Path) -> Sequence[str]:
    """Read a file with one name a line, whatever their number.

    Raises:
        OutputError: the file cannot be read.
    """
    try:
        names = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError("labels/unreadable", f"cannot be read as text ({error})", file=path) from None
    return without_numbers(names)


def read_labels(path: Path, classes: int) -> Labels:
    """Read a file with one name a line and line it up with the network.

    Numbers in front of the names, as Teachable Machine writes them, are taken away if they count the lines.
    One name more than classes is taken for the background class that the network lacks, if it is called so;
    one name less for a list without the background class that the network has.

    Raises:
        OutputError: the file cannot be read, or has another number of names.
    """
    names = names_of_file(path)
    if len(names) == classes:
        return Labels(names, path.name)
    if len(names) == classes + 1 and names[0].strip().lower() in (BACKGROUND, "dummy"):
        return Labels(names[1:], f"{path.name} without its first name, {names[0]!r}")
    if len(names) == classes - 1:
        said = f"{path.name}; class 0 is background, class n is its name number n"
        return Labels([BACKGROUND, *names], said)
    raise OutputError(
        "labels/count",
        "the file has not one name a line for each class",
        file=path,
        expected=f"{classes} names",
        found=len(names),
    )
