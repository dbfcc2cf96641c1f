"""The call that builds a ported network in plain timm."""

from __future__ import annotations

import os

from porter.planning.plan import Plan


def create_model_call(plan: Plan, out: str | os.PathLike[str]) -> str:
    """Return the `timm.create_model` call that builds the network and loads `out` into it."""
    name, path = plan.variant.target.name, os.fspath(out)
    return f"timm.create_model({name!r}, checkpoint_path={path!r}{keywords(plan)})"


def keywords(plan: Plan) -> str:
    """Return what follows in a `timm.create_model` call: the arguments, and how pictures are prepared.

    Without the latter `timm.data.resolve_model_data_config` would give timm's own preparation of the network.
    """
    pictures = plan.pictures
    overlay = {
        "input_size": (plan.arguments.get("in_chans", 3), pictures.size, pictures.size),
        "mean": pictures.mean,
        "std": pictures.std,
        "crop_pct": pictures.crop_pct,
        "interpolation": pictures.interpolation,
    }
    named = {**plan.arguments, "pretrained_cfg_overlay": overlay}
    return "".join(f", {name}={value!r}" for name, value in named.items())
