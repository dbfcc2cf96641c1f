"""How images are prepared, in the words of timm's `pretrained_cfg`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def pretrained_cfg(spec: Mapping[str, Any], channels: object) -> dict[str, object]:
    """Return how images are prepared, as timm's `pretrained_cfg` says it.

    Args:
        spec: size, mean, std, crop_pct and interpolation, as a ported file's metadata have them.
        channels: Of the network's images.
    """
    return {
        "input_size": (channels, spec["size"], spec["size"]),
        "mean": tuple(spec["mean"]),
        "std": tuple(spec["std"]),
        "crop_pct": spec["crop_pct"],
        "interpolation": spec["interpolation"],
    }
