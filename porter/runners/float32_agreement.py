"""Whether a network in float64 computes what it computes in float32, up to what rounding explains."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from porter.core.checkpoint import Array

Stages = Mapping[str, Array]

_ROUNDING = 2.0**-24  # half the distance of two float32 around 1
# A network rounds in every layer, not at its input alone: hundreds of moves at random add up to some tens.
_MOVES = 100


def differences(wide: Stages, narrow: Stages) -> dict[str, float]:
    """Return max|narrow - wide| / max|wide| of each stage that is finite and not all zero in `wide`.

    Example:
        >>> differences({"stem": np.array([2.0, 4.0])}, {"stem": np.array([2.0, 4.5])})
        {'stem': 0.125}
    """
    usable = {name: each for name, each in wide.items() if np.isfinite(each).all() and each.any()}
    return {
        name: float(np.abs(narrow[name] - each).max() / np.abs(each).max()) for name, each in usable.items()
    }


def unexplained(found: Mapping[str, float], moved: Mapping[str, float], bound: float) -> str:
    """Return the first stage that differs by more than rounding explains, or "".

    What a stage is moved by counts for those behind it, too: an average over the image makes less of images
    that are moved at random, and not of what float32 rounds alike at every pixel.

    Args:
        found: By how much each stage differs in float32, in order of execution.
        moved: By how much each differs in float64 if the images are rounded, as `differences` gives it.
        bound: What may differ anyway.

    Example:
        >>> unexplained({"stem": 1e-7, "logits": 4e-3}, {"stem": 6e-8, "logits": 1e-4}, 1e-3)
        ''
        >>> unexplained({"stem": 1e-7, "logits": 4e-3}, {"stem": 6e-8, "logits": 1e-7}, 1e-3)
        'logits'
        >>> unexplained({"head": 4e-3, "logits": 4e-3}, {"head": 6e-5, "logits": 3e-5}, 1e-3)
        ''
    """
    most = 0.0
    for name, value in found.items():
        most = max(most, moved.get(name, 0.0))
        if not value <= max(bound, _MOVES * most):
            return name
    return ""


def moved_by_rounding(images: Array) -> Array:
    """Return images whose elements are moved at random by as much as rounding to float32 may."""
    signs = np.random.default_rng(0).choice((-1.0, 1.0), images.shape)
    return images * (1 + _ROUNDING * signs)


def rough_note(moved: Mapping[str, float]) -> str:
    """Say that rounding grows in a network."""
    most = max(moved.values())
    return f"rounding grows in this network: images rounded to float32 move it by {most:.1e}"
