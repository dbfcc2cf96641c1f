"""What plain timm is told of a ported network: the call that builds it, how its pictures are prepared."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from porter.planning.plan import Plan


def create_model_call(plan: Plan, out: str | os.PathLike[str]) -> str:
    """Return the `timm.create_model` call that builds the network and loads `out` into it."""
    name, path = plan.variant.target.name, os.fspath(out)
    return f"timm.create_model({name!r}, checkpoint_path={path!r}{keywords(plan)})"


def keywords(plan: Plan) -> str:
    """Return what follows in a `timm.create_model` call: the arguments, and how pictures are prepared.

    Without the latter `timm.data.resolve_model_data_config` would give timm's own preparation of the network.
    """
    prepared = preparation(plan.pictures._asdict(), plan.arguments.get("in_chans", 3))
    named = {**plan.arguments, "pretrained_cfg_overlay": prepared}
    return "".join(f", {name}={value!r}" for name, value in named.items())


def preparation(pictures: Mapping[str, Any], channels: object) -> dict[str, object]:
    """Return how pictures are prepared, as timm's `pretrained_cfg` says it.

    Args:
        pictures: size, mean, std, crop_pct and interpolation, as a ported file's metadata have them.
        channels: Of the network's pictures.
    """
    return {
        "input_size": (channels, pictures["size"], pictures["size"]),
        "mean": tuple(pictures["mean"]),
        "std": tuple(pictures["std"]),
        "crop_pct": pictures["crop_pct"],
        "interpolation": pictures["interpolation"],
    }
