"""Labels of a data set as the network counts its classes."""

from __future__ import annotations

from collections import Counter
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
    labels: Iterable[Label],
    classes: int,
    names: Sequence[str],
    codes: Sequence[str],
    offset: int | None,
    data_names: Sequence[str] = (),
) -> ClassLabels:
    """Tell which class of the network each label is.

    Args:
        labels: Those of the data set.
        classes: How many classes the network has.
        names: Of the network's classes; empty if nobody knows them.
        codes: WordNet's codes of ImageNet's 1000 classes, if they are the network's.
        offset: What is added to a label that is a number; nothing if None.
        data_names: What the data set itself calls the classes of labels 0, 1, ...; empty if it does not say.
    """
    found = set(labels)
    if not found:
        return ClassLabels({}, "the data has none")
    if all(str(label).isascii() and str(label).isdigit() for label in found):
        if data_names and offset is None:
            return _named_numbers(found, classes, names, codes, data_names)
        return _numbers(found, classes, names, offset)
    return _names(found, classes, names, codes)


def _names(found: set[Label], classes: int, names: Sequence[str], codes: Sequence[str]) -> ClassLabels:
    by_name = _by_name(classes, names, codes)
    known = {label: by_name.get(_plain(str(label))) for label in found}
    if all(number is not None for number in known.values()):
        return ClassLabels({k: v for k, v in known.items() if v is not None}, "by the names of the classes")
    if len(found) == classes:
        ordered = {label: number for number, label in enumerate(sorted(found, key=str))}
        return ClassLabels(ordered, f"the {classes} names in alphabetical order, as ImageFolder counts them")
    unknown = min(str(label) for label, number in known.items() if number is None)
    if [_plain(name) for name in names].count(_plain(unknown)) > 1:
        return ClassLabels({}, f"not usable: several of the network's classes are called {unknown!r}")
    return ClassLabels(
        {},
        f"not usable: {unknown!r} is none of the network's {classes} classes; name them with --labels",
    )


def _plain(name: str) -> str:
    return name.strip().lower()


def _by_name(classes: int, names: Sequence[str], codes: Sequence[str]) -> dict[str, int]:
    """Return the number of each class by its code and its name; a name of several classes tells none."""
    shift = classes - len(codes) if codes else 0  # the background class comes first
    times = Counter(map(_plain, names))
    return {
        **{code: number + shift for number, code in enumerate(codes)},
        **{_plain(name): number for number, name in enumerate(names) if times[_plain(name)] == 1},
    }


def _named_numbers(
    found: set[Label], classes: int, names: Sequence[str], codes: Sequence[str], data_names: Sequence[str]
) -> ClassLabels:
    """Tell the classes of numbers that the data set itself has names for, which need not be the network's."""
    by_name = _by_name(classes, names, codes)
    named = {label: data_names[int(label)] for label in found if int(label) < len(data_names)}
    known = {label: by_name[_plain(name)] for label, name in named.items() if _plain(name) in by_name}
    if len(known) == len(found):
        return ClassLabels(known, "by the names that the data has for its numbers")
    if len(data_names) == classes:
        return _numbers(found, classes, names, None)
    unknown = next((name for label, name in named.items() if label not in known), None)
    return ClassLabels(
        {},
        f"not usable: the data counts {len(data_names)} classes of its own, the network {classes}"
        + (f", and none of these is called {unknown!r}" if unknown else "")
        + "; --labels names the network's, --label-offset 0 takes the numbers as they are",
    )


def _numbers(found: set[Label], classes: int, names: Sequence[str], offset: int | None) -> ClassLabels:
    shifted = {label: int(label) + (offset or 0) for label in found}
    if not all(0 <= number < classes for number in shifted.values()):
        outside = next(number for number in shifted.values() if not 0 <= number < classes)
        return ClassLabels({}, f"not usable: class {outside} is none of the network's {classes}")
    words = "numbers, as the network counts"
    if offset:
        words = f"numbers, and {offset:+d} makes them the network's"
    elif offset is None and names and names[0].strip().lower() == BACKGROUND and 0 in shifted.values():
        words += (
            "; its class 0 is the background: labels that begin with the first class need --label-offset 1"
        )
    return ClassLabels(shifted, words)
