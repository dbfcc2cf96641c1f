"""Finds lines of a table that repeat, as blocks of a network do, and writes them once with ranges."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

Line = Mapping[str, Any]
_NUMBER = re.compile(r"(?<!\d)(?:0|[1-9]\d*)(?!\d)")  # "01" is a name: a range would write it as 1
_NAMES = ("source", "target", "stage")
_LEAST_SAVED = 2  # lines; for fewer a range is not easier to read
_ANY_STEP = 2


class _Form(NamedTuple):
    """A line, its numbers apart: those in its names, then its lengths."""

    words: tuple[tuple[str, Any], ...]
    numbers: tuple[int, ...]
    lengths: tuple[int, ...]


def with_ranges(lines: Sequence[Line]) -> Iterator[tuple[Line, ...]]:
    """Yield groups of lines: one as it is, or those of a repeated block with ``{first..last..step}``.

    The lines of a group take turns at each number. They are about one module of a list (``layers.3``), and
    from one module to the next each of their numbers grows by a step of its own, or stays.

    Example:
        >>> lines = [{"target": f"b.{n}.{kind}", "i": 8} for n in range(3) for kind in ("conv", "norm")]
        >>> for group in with_ranges(lines):
        ...     print(group)
        ({'target': 'b.{0..2}.conv', 'i': 8}, {'target': 'b.{0..2}.norm', 'i': 8})
    """
    forms = [_form(line) for line in lines]
    place = 0
    while place < len(lines):
        period, count = max(_repeats(lines, forms, place), key=_saved, default=(1, 1))
        if _saved((period, count)) < _LEAST_SAVED:
            period, count = 1, 1
        last = place + period * (count - 1)
        yield tuple(_ranged(lines[place + n], lines[last + n], count) for n in range(period))
        place += period * count


def _saved(repeat: tuple[int, int]) -> int:
    period, count = repeat
    return period * (count - 1)


def _form(line: Line) -> _Form:
    words: list[tuple[str, Any]] = []
    numbers: list[int] = []
    lengths: list[int] = []
    for key, value in line.items():
        if key in _NAMES:
            words.append((key, _NUMBER.sub("#", value)))
            numbers += map(int, _NUMBER.findall(value))
        elif type(value) is int:
            words.append((key, int))
            lengths.append(value)
        else:
            words.append((key, value))
    return _Form(tuple(words), (*numbers, *lengths), tuple(lengths))


def _repeats(lines: Sequence[Line], forms: Sequence[_Form], place: int) -> Iterator[tuple[int, int]]:
    """Yield (lines of a module, how often they repeat) for every list that a line's module may be in."""
    for number in _NUMBER.finditer(lines[place]["target"]):
        module = lines[place]["target"][: number.end()]
        if place and _is_in(lines[place - 1], module):
            continue  # a part of it was written already
        period = 1
        while place + period < len(lines) and _is_in(lines[place + period], module):
            period += 1
        count = _count(forms, place, period)
        ends = (forms[start : start + period] for start in (place, place + period))
        if count == _ANY_STEP and len({tuple(each.lengths for each in end) for end in ends}) > 1:
            count = 1  # between two widths every step is even
        yield period, count


def _is_in(line: Line, module: str) -> bool:
    return f"{line['target']}.".startswith(f"{module}.")


def _count(forms: Sequence[_Form], place: int, period: int) -> int:
    """Return how often `period` lines repeat from `place` on with even steps."""
    turns = [forms[start : start + period] for start in range(place, len(forms), period)]
    steps = None
    for count, (before, after) in enumerate(pairwise(turns), start=1):
        if [each.words for each in before] != [each.words for each in after]:
            return count
        found = [b - a for one, other in zip(before, after, strict=True) for a, b in _numbers(one, other)]
        if min(found) < 0 or steps not in (None, found):
            return count
        steps = found
    return len(turns)


def _numbers(one: _Form, other: _Form) -> Iterator[tuple[int, int]]:
    return zip(one.numbers, other.numbers, strict=True)


def _ranged(first: Line, last: Line, count: int) -> Line:
    """Return a line that stands for `count` of them, given the first and the last."""
    if count == 1:
        return first
    values: dict[str, Any] = {}
    for key, value in first.items():
        if key in _NAMES:
            ends = iter(_NUMBER.findall(last[key]))
            values[key] = _NUMBER.sub(partial(_to_end, ends, count), value)
        else:
            values[key] = value if value == last[key] else _range(value, last[key], count)
    return values


def _to_end(ends: Iterator[str], count: int, found: re.Match[str]) -> str:
    return _range(found[0], next(ends), count)


def _range(first: int | str, last: int | str, count: int) -> str:
    if first == last:
        return str(first)
    step = (int(last) - int(first)) // (count - 1)
    return f"{{{first}..{last}}}" if step == 1 else f"{{{first}..{last}..{step}}}"
