"""Labels of a data set as the network counts its classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from porter.data.items import Label
from porter.loading.labels import BACKGROUND


class ClassLabels(NamedTuple):
    """The number of each label.

    Attributes:
        numbers: By label; empty if they cannot be told.
        words: How they were told, for people.
    """

    numbers: Mapping[Label, int]
    words: str


def class_labels(
    labels: Iterable[Label], classes: int, names: Sequence[str], codes: Sequence[str], offset: int | None
) -> ClassLabels:
    """Tell which class of the network each label is.

    Args:
        labels: Those of the data set.
        classes: How many classes the network has.
        names: Of the network's classes; empty if nobody knows them.
        codes: WordNet's codes of ImageNet's 1000 classes, if they are the network's.
        offset: What is added to a label that is a number; nothing if None.
    """
    found = set(labels)
    if not found:
        return ClassLabels({}, "the data has none")
    if all(str(label).isascii() and str(label).isdigit() for label in found):
        return _numbers(found, classes, names, offset)
    by_name: dict[str, int] = {}
    shift = classes - len(codes) if codes else 0  # the background class comes first
    by_name.update({code: number + shift for number, code in enumerate(codes)})
    by_name.update({name.strip().lower(): number for number, name in enumerate(names)})
    known = {label: by_name.get(str(label).strip().lower()) for label in found}
    if all(number is not None for number in known.values()):
        return ClassLabels({k: v for k, v in known.items() if v is not None}, "by the names of the classes")
    if len(found) == classes:
        ordered = {label: number for number, label in enumerate(sorted(found, key=str))}
        return ClassLabels(ordered, f"the {classes} names in alphabetical order, as ImageFolder counts them")
    unknown = sorted(str(label) for label, number in known.items() if number is None)
    return ClassLabels(
        {},
        f"not usable: {unknown[0]!r} is none of the network's {classes} classes; name them with --labels",
    )


def _numbers(found: set[Label], classes: int, names: Sequence[str], offset: int | None) -> ClassLabels:
    shifted = {label: int(label) + (offset or 0) for label in found}
    if not all(0 <= number < classes for number in shifted.values()):
        largest = max(shifted.values())
        return ClassLabels({}, f"not usable: class {largest} is none of the network's {classes}")
    words = "numbers, as the network counts"
    if offset:
        words = f"numbers, and {offset:+d} makes them the network's"
    elif offset is None and names and names[0].strip().lower() == BACKGROUND and 0 in shifted.values():
        words += (
            "; its class 0 is the background: labels that begin with the first class need --label-offset 1"
        )
    return ClassLabels(shifted, words)
