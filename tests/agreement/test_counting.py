"""Figures of rows: counted in pieces they are the same, and labels are told or not used."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from porter.agreement.class_labels import class_labels
from porter.agreement.statistics import MEASURES, Statistics
from porter.parity.image_row import Answers, ImageRow, compared


def rows(count):
    """Return rows of random logits, some of them unusable."""
    rng = np.random.default_rng(0)
    for number in range(count):
        source = rng.normal(size=7).astype(np.float32)
        steps = np.cumsum(rng.normal(0, 0.2, (3, 7)), 0).astype(np.float32)
        found = compared(Answers(source, *(source + steps)), "softmax")
        row = ImageRow(number, number // 4, f"{number}.png", number % 7, **found)
        yield dataclasses.replace(row, fault="cannot be read") if number % 9 == 8 else row


def counted(some):
    """Return what rows say."""
    found = Statistics()
    for row in some:
        found.add(row, row.label)
    return found


@pytest.mark.parametrize("cut", [0, 1, 17, 50])
def test_pieces_that_are_merged_say_what_the_whole_says(cut):
    """Counts, causes, exact quantiles, the largest flips and the first faults."""
    whole, merged = counted(rows(50)), counted(list(rows(50))[:cut])
    merged.merge(counted(list(rows(50))[cut:]))

    assert merged.counts == whole.counts
    assert merged.causes == whole.causes
    assert all(merged.quantiles(name) == whole.quantiles(name) for name in MEASURES)
    assert merged.largest_flips == whole.largest_flips
    assert merged.unusable == whole.unusable
    assert whole.counts["compared"] + whole.counts["unusable"] == 50
    assert whole.quantiles("difference")[1.0] == max(r.difference for r in rows(50) if not r.fault)


@pytest.mark.parametrize(
    ("labels", "classes", "names", "offset", "expected"),
    [
        (["0", "2"], 3, (), None, {"0": 0, "2": 2}),
        ([0, 2], 4, (), 1, {0: 1, 2: 3}),
        ([0, 5], 5, (), None, {}),
        (["cat", "Dog "], 2, ("dog", "cat"), None, {"cat": 1, "Dog ": 0}),
        (["b", "a", "c"], 3, (), None, {"a": 0, "b": 1, "c": 2}),
        (["b", "a"], 3, (), None, {}),
        ([], 3, (), None, {}),
    ],
)
def test_a_label_is_told_or_not_used(labels, classes, names, offset, expected):
    """No class is guessed; why there is none is said."""
    found = class_labels(labels, classes, names, (), offset)

    assert dict(found.numbers) == expected
    assert found.words
