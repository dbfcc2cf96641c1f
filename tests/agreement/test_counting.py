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


IMAGENETTE = ("n01440764", "n02102040", "n02979186")


@pytest.mark.parametrize(
    ("data_names", "classes", "offset", "expected", "words"),
    [
        (IMAGENETTE, 5, None, {0: 3, 2: 4}, "names that the data has"),  # n01440764 is the network's class 3
        (("x", "y", "z"), 5, None, {}, "'x'"),
        (("x", "y", "z"), 5, 1, {0: 1, 2: 3}, "+1"),
        (("x", "y", "z"), 5, 0, {0: 0, 2: 2}, "as the network counts"),
        (("a", "b", "c", "d", "e"), 5, None, {0: 0, 2: 2}, "as the network counts"),
    ],
)
def test_numbers_that_the_data_has_names_for_are_the_networks_by_name(
    data_names, classes, offset, expected, words
):
    """A subset of ImageNet counts its own classes from 0, and they are not the network's first ones."""
    names, codes = ("dog", "cat", "owl", "tench", "player"), ("n1", "n2", "n3", "n01440764", "n02979186")
    found = class_labels([0, 2], classes, names, codes, offset, data_names)

    assert dict(found.numbers) == expected
    assert words in found.words


def test_a_name_of_two_classes_tells_none():
    """ImageNet has two classes called crane, a bird and a machine."""
    found = class_labels(["crane", "dog"], 3, ("crane", "dog", "Crane"), (), None)

    assert not found.numbers
    assert "several" in found.words


def test_the_label_that_is_out_of_range_is_named():
    """With a negative offset it is the smallest."""
    assert "class -1 is none" in class_labels([0, 5], 9, (), (), -1).words


def test_one_output_tells_two_classes_apart():
    """A network that says yes or no agrees where both say the same, not wherever it has one output."""
    yes, no = (np.full(1, logit, np.float32) for logit in (2.0, -1.0))
    same, other = (compared(Answers(yes, *[answer] * 3), "sigmoid") for answer in (yes, no))

    assert (same["source_best"], same["ported_best"]) == ((1, 0), (1, 0))
    assert (other["source_best"], other["ported_best"]) == ((1, 0), (0, 1))
    assert other["difference"] == pytest.approx(1 / (1 + np.exp(-2)) - 1 / (1 + np.exp(1)))
    p, q = 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(1))
    assert other["divergence"] == pytest.approx(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    assert other["network"] == other["difference"]
