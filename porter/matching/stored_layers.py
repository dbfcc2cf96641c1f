"""The layers of a checkpoint that stores weights alone, by the names and shapes of its variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from porter.core.checkpoint import Checkpoint
from porter.planning.ledger import moving_averages, optimizer_state

_ROLES = {
    **dict.fromkeys(("kernel", "weights", "depthwise_kernel", "depthwise_weights", "w"), "kernel"),
    **dict.fromkeys(("bias", "biases", "b"), "bias"),
    **dict.fromkeys(("moving_mean", "mean"), "mean"),
    **dict.fromkeys(("moving_variance", "variance"), "variance"),
    "gamma": "gamma",
    "beta": "beta",
}
_IMAGE_KERNEL = 4  # axes of (H, W, in, out)


def stored_layers(checkpoint: Checkpoint, paths: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the layers in the order of their names, numbers counted as numbers.

    Args:
        checkpoint: The source.
        paths: Object path by key.

    Yields:
        ``name``, ``kind`` and ``variables``: key by role.
    """
    left_out = {*optimizer_state(checkpoint), *moving_averages(checkpoint).values(), *checkpoint.graph.slots}
    found: dict[str, dict[str, str]] = {}
    for key, spec in checkpoint.specs.items():
        owner, _, leaf = paths.get(key, key).rpartition("/")
        role = _ROLES.get(leaf.partition(":")[0])
        if role and spec.dtype.is_float and key not in left_out:
            found.setdefault(owner, {})[role] = key
    for owner in sorted(found, key=_in_order):
        variables = found[owner]
        kernel = variables.get("kernel")
        if kernel:
            is_image = len(checkpoint.specs[kernel].shape) == _IMAGE_KERNEL
            image = "depthwise_conv" if "depthwise" in kernel else "conv"
            kind = image if is_image else "dense"
        elif "mean" in variables:
            kind = "norm"
        else:
            continue
        yield {"name": owner, "kind": kind, "variables": variables}


def _in_order(path: str) -> list[tuple[int, int, str]]:
    parts = re.findall(r"\d+|\D+", path)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]
