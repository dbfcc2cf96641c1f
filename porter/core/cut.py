"""A network that ends before its own end: where, and what it returns."""

from __future__ import annotations

import json
from typing import NamedTuple

WHOLE = ""
LINEAR = "linear"
ACTIVATED = "activated"
_SIDES = (WHOLE, LINEAR, ACTIVATED)


class Feature(NamedTuple):
    """An output of a module.

    Attributes:
        module: Its name in the PyTorch network.
        side: `WHOLE` for what the module gives; of a norm, `LINEAR` for what it gives before the activation
            behind it, `ACTIVATED` for what that gives, whichever module computes it.
    """

    module: str
    side: str = WHOLE


class Cut(NamedTuple):
    """Where a network ends.

    Attributes:
        end: The last module that runs as a whole; "" if none does.
        steps: What runs after it: modules of the block that the cut goes through, in order.
        outputs: What the network returns, in the source's order.
        words: The place in words: ``"behind blocks.5.0 (block_13_project_BN)"``.
        timm_indices: What `out_indices` of timm's `features_only` gives of the same maps; nothing if timm
            has no such maps.
    """

    end: str
    steps: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    words: str
    timm_indices: tuple[int, ...] = ()


def to_text(cut: Cut) -> str:
    """Return a cut as one line of JSON."""
    return json.dumps(cut._asdict(), sort_keys=True)


def from_text(text: str) -> Cut:
    """Read what `to_text` wrote.

    Raises:
        ValueError: it is not what `to_text` writes.
        TypeError: likewise.
        KeyError: likewise.
    """
    found = json.loads(text)
    steps, outputs = _features(found["steps"]), _features(found["outputs"])
    indices = tuple(map(int, found.get("timm_indices", ())))
    cut = Cut(str(found["end"]), steps, outputs, str(found["words"]), indices)
    if not cut.outputs:
        raise ValueError("a cut without an output")
    return cut


def _features(listed: list[list[str]]) -> tuple[Feature, ...]:
    features = tuple(Feature(*each) for each in listed)
    if not all(isinstance(each.module, str) and each.side in _SIDES for each in features):
        raise ValueError("not an output of a module")
    return features
