"""Tests on the relation between channels of both outputs: a factor, an offset, an order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from porter.diagnosis.arithmetic import Values
from porter.diagnosis.clue import Clue
from porter.diagnosis.symptoms import Symptom

_EXACT = 1e-9
# relu6(x + 3) * 0.16667 over relu6(x + 3) / 6.
_HARD_SIGMOID = 6 * 0.16667


def channel_clues(symptom: Symptom, expected: Values, actual: Values) -> Iterator[Clue]:
    """Yield what the relation between equal channels says, and where there is none, between others."""
    x = symptom.input
    offered = [(expected, actual, "")]
    if x is not None and x.shape == expected.shape:
        offered.append((expected - x, actual - x, "what the stage adds to its input: "))
    for one, other, evidence in offered:
        if one.shape[0] * one.shape[2] * one.shape[3] < 4:
            continue
        found = list(_affine(one, other, evidence)) or list(_permuted(one, other, evidence))
        if found:
            yield from found
            return


def _flat(values: Values) -> Values:
    """(N, C, H, W) to (C, N x H x W)."""
    return values.swapaxes(0, 1).reshape(values.shape[1], -1)


def _affine(expected: Values, actual: Values, prefix: str) -> Iterator[Clue]:
    e, a = _flat(expected), _flat(actual)
    usable = (e > 0) & (a > 0) if min(e.min(), a.min()) >= 0 else np.ones_like(e, dtype=bool)
    slopes, offsets, left = _fit(e, a, usable)
    known = np.isfinite(slopes)
    if known.sum() < max(2, 0.5 * len(slopes)) or left > _EXACT * np.abs(a).max():
        return
    slopes, offsets = slopes[known], offsets[known]
    moved = np.abs(offsets).max() > _EXACT * np.abs(a).max()
    spread = float(slopes.max() - slopes.min())
    evidence = f"{prefix}every channel is {slopes.min():.6g} to {slopes.max():.6g} times the reference's"
    evidence += f" plus {offsets.min():.3g} to {offsets.max():.3g}" if moved else " with no offset"
    constant = spread < 1e-7
    if constant and min(abs(slopes[0] / _HARD_SIGMOID - 1), abs(slopes[0] * _HARD_SIGMOID - 1)) < 1e-7:
        yield Clue("hard-sigmoid", 0.95, f"{evidence}; 6 x 0.16667 is {_HARD_SIGMOID:.5f}")
    elif constant and abs(slopes[0] - 1) < 1e-7 and moved:
        yield Clue("missing-fold", 0.75, f"{evidence}: a bias or mean that was not folded")
    elif not moved:
        yield Clue("layer-scale", 0.8, evidence)
    elif ((slopes >= 1).all() or (slopes <= 1).all()) and np.abs(np.log(np.abs(slopes))).max() < 0.5:
        yield Clue("bn-epsilon", 0.85, f"{evidence}, all on the same side of 1")
    else:
        yield Clue("swapped-statistics", 0.6, evidence)


def _fit(e: Values, a: Values, usable: NDArray[np.bool_]) -> tuple[Values, Values, float]:
    """Fit a = slope x e + offset per channel; return both and the largest residual."""
    slopes, offsets = np.full(len(e), np.nan), np.full(len(e), np.nan)
    left = 0.0
    for c in range(len(e)):
        x, y = e[c][usable[c]], a[c][usable[c]]
        if len(x) < 3 or np.ptp(x) == 0.0:
            continue
        centred = x - x.mean()
        slopes[c] = float(centred @ y / (centred @ centred))
        offsets[c] = float(y.mean() - slopes[c] * x.mean())
        left = max(left, float(np.abs(slopes[c] * x + offsets[c] - y).max()))
    return slopes, offsets, left


def _permuted(expected: Values, actual: Values, prefix: str) -> Iterator[Clue]:
    """Match channels by correlation, which no scale or offset changes."""
    e, a = _flat(expected), _flat(actual)
    if e.shape[1] < 6:
        return
    e, a = (v - v.mean(axis=1, keepdims=True) for v in (e, a))
    norms = [np.linalg.norm(v, axis=1, keepdims=True) for v in (e, a)]
    if min(norm.min() for norm in norms) == 0.0:
        return
    likeness = np.abs((a / norms[1]) @ (e / norms[0]).T)
    best = likeness.argmax(axis=1)
    sure = likeness.max(axis=1) > 1 - _EXACT
    moved = int((sure & (best != np.arange(len(best)))).sum())
    if sure.mean() > 0.9 and moved and len(set(best)) == len(best):
        evidence = (
            f"{prefix}{moved} of {len(best)} channels are others of the reference, up to scale and offset"
        )
        yield Clue("channel-order", 0.9, f"{evidence} (correlation above 1 - {_EXACT:.0e})")
