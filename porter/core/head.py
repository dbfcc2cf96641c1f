"""What follows a backbone in a person's own model: a chain of steps that the source states.

Tables describe networks that somebody published; a head that was trained on top of one is read from the
source, goes through a port as a list of steps, and stands in the output's metadata.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

POOLS = ("global_avg_pool", "global_max_pool", "global_avg_max_pool")


class HeadStep(NamedTuple):
    """One step of a head.

    ====================================  ===========================================================
    global_avg_pool, global_max_pool      a map (N, H, W, C) to (N, C)
    global_avg_max_pool                   both of them, averages first: (N, 2 C)
    flatten                               a map (N, H, W, C) to (N, H x W x C), in this order of axes
    dense, conv                           inputs, outputs, bias; conv is 1x1, on a map
    norm                                  channels, epsilon, is_map: batch normalisation
    relu                                  max_value or None, negative_slope
    gelu                                  approximate
    elu                                   alpha
    softmax                               over the classes
    sigmoid, tanh, softplus, swish, mish  nothing
    hard_sigmoid, hard_swish              nothing: relu6(x + 3) / 6, and x times that
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
    found = json.loads(text)
    if not isinstance(found, list) or not all(isinstance(step, list) and len(step) == 2 for step in found):
        raise ValueError("not a list of steps")
    steps = tuple(HeadStep(*step) for step in found)
    if not all(isinstance(step.kind, str) and isinstance(step.attributes, dict) for step in steps):
        raise ValueError("not a list of steps")
    return steps
