"""What rounding explains of the difference between a network in float64 and in float32."""

from __future__ import annotations

import numpy as np

from porter.runners.float32_agreement import differences, moved_by_rounding, unexplained


def growing(images, *, wrong=False):
    """Compute three stages in the type of the images; every one lets a difference grow a hundredfold."""
    stem = images * images.dtype.type(3)
    middle = np.tanh(100 * (stem - stem.mean()))
    return {"stem": stem, "middle": middle + wrong, "end": np.tanh(100 * (middle - middle.mean()))}


def test_rounding_that_grows_is_no_other_network():
    """It differs by more than the bound, and moves as much if images are rounded; a wrong stage does not."""
    images = np.random.default_rng(0).normal(size=(2, 40))
    wide, narrow = growing(images), growing(images.astype(np.float32))
    moved = differences(wide, growing(moved_by_rounding(images)))
    bound = 1e-7

    assert max(differences(wide, narrow).values()) > bound
    assert unexplained(differences(wide, narrow), moved, bound) == ""
    wrong = growing(images.astype(np.float32), wrong=True)
    assert unexplained(differences(wide, wrong), moved, bound) == "middle"


def test_what_is_not_finite_in_float32_alone_is_never_explained():
    """An overflow of float32 is something else, however much rounding moves the network."""
    found = differences({"stem": np.ones(3)}, {"stem": np.array([1.0, np.inf, 1.0])})
    lost = differences({"stem": np.ones(3)}, {"stem": np.array([1.0, np.nan, 1.0])})

    assert unexplained(found, {"stem": 1.0}, 1e-3) == "stem"
    assert unexplained(lost, {"stem": 1.0}, 1e-3) == "stem"
