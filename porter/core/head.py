"""What follows a backbone in a person's own model: steps that the source states, one after the other.

Tables describe networks that somebody published; a head that was trained on top of one is read from the
source, goes through a port as a list of steps, and stands in the output's metadata.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

POOLS = ("global_avg_pool", "global_max_pool", "global_avg_max_pool")
WINDOWS = ("max_pool", "avg_pool")
WEIGHTED = ("dense", "conv", "depthwise_conv")
BRANCHES = "branches"
JOIN = "join"
JOINS = ("add", "multiply", "average", "maximum", "concat")
MOST_NESTED = 16  # branches within branches: no head that people train has more, and a crafted file no end
CLASSIFIERS = ("classifier", "classif", "fc", "head.fc")
"""Modules of timm's networks that classify what the module `global_pool` beside them gives."""


class HeadStep(NamedTuple):
    """One step of a head.

    ====================================  ===========================================================
    global_avg_pool, global_max_pool      a map (N, H, W, C) to (N, C)
    global_avg_max_pool                   both of them, averages first: (N, 2 C)
    flatten                               a map (N, H, W, C) to (N, H x W x C), in this order of axes
    dense                                 inputs, outputs, bias
    max_pool, avg_pool                    a map to a smaller one: size, strides (h, w), padding as of a conv
    conv                                  the same of a map; kernel, strides and dilation (h, w) and padding,
                                          "same" or ((top, bottom), (left, right)), unless it is plain and 1x1
    depthwise_conv                        likewise, always with a window; outputs is a multiple of inputs
    norm, layer_norm                      channels, epsilon, is_map: batch or layer normalisation
    group_norm                            channels, groups, epsilon
    unit_norm                             shortest: each vector of channels divided by its length, or by this
    scale                                 scale, offset: x * scale + offset
    relu                                  max_value or None, negative_slope
    gelu                                  approximate
    elu                                   alpha
    prelu                                 channels, each with a slope of its own
    softmax                               over the classes
    sigmoid, tanh, softplus, swish, mish  nothing
    selu, softsign, exponential           nothing
    hard_sigmoid, hard_swish              nothing: relu6(x + 3) / 6, and x times that
    join                                  how, one of `JOINS`, and branches: the steps of each tensor that is
                                          joined; beside maps, vectors (N, C) stand for maps of one pixel
    branches                              branches: the steps of each output, in the source's order, each a
                                          pair as `to_text` writes it; the last step, if there is one
    ====================================  ===========================================================

    Attributes:
        kind: One of the above.
        attributes: By the names above.
    """

    kind: str
    attributes: Mapping[str, object]


def to_text(steps: Iterable[HeadStep]) -> str:
    """Return the steps as one line of JSON."""
    return json.dumps([[step.kind, dict(step.attributes)] for step in steps], sort_keys=True, allow_nan=False)


def from_text(text: str) -> tuple[HeadStep, ...]:
    """Read what `to_text` wrote.

    Raises:
        ValueError: it is not what `to_text` writes.
    """
    try:
        steps = _listed(json.loads(text))
    except RecursionError as error:
        raise ValueError("steps within steps without end") from error
    _require_branches(steps, MOST_NESTED + 1)  # several outputs are a level of their own
    return steps


def branches_of(step: HeadStep) -> tuple[tuple[HeadStep, ...], ...]:
    """Return the steps of each branch of a step ``branches`` or ``join``.

    Raises:
        ValueError: they are malformed.
    """
    found = step.attributes.get(BRANCHES)
    if not isinstance(found, list | tuple) or not found:
        raise ValueError("no branches")
    return tuple(map(_listed, found))


def output_count(steps: Sequence[HeadStep]) -> int:
    """Return how many tensors a head gives."""
    return len(branches_of(steps[-1])) if steps and steps[-1].kind == BRANCHES else 1


def _require_branches(steps: Iterable[HeadStep], depth: int) -> None:
    for step in steps:
        if step.kind in (BRANCHES, JOIN):
            if depth < 0:
                raise ValueError("steps within steps without end")
            for branch in branches_of(step):
                _require_branches(branch, depth - 1)


def _listed(found: Any) -> tuple[HeadStep, ...]:
    listed: list[Any] = [*found] if isinstance(found, list | tuple) else [None]
    if not all(isinstance(step, list | tuple) and len(step) == 2 for step in listed):
        raise ValueError("not a list of steps")
    steps = tuple(HeadStep(kind, attributes) for kind, attributes in listed)
    if not all(isinstance(step.kind, str) and isinstance(step.attributes, dict) for step in steps):
        raise ValueError("not a list of steps")
    return steps
