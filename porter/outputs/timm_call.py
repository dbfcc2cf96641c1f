"""The `timm.create_model` call that builds a ported network."""

from __future__ import annotations

import os

from porter.networks.pretrained_cfg import pretrained_cfg
from porter.planning.plan import Plan


def create_model_call(plan: Plan, out: str | os.PathLike[str]) -> str:
    """Return the `timm.create_model` call that builds the network and loads `out` into it."""
    name, path = plan.variant.target.name, os.fspath(out)
    return f"timm.create_model({name!r}, checkpoint_path={path!r}{keywords(plan)})"


def keywords(plan: Plan) -> str:
    """Return what follows in a `timm.create_model` call: the arguments, and how images are prepared.

    Without the latter `timm.data.resolve_model_data_config` would give timm's own preparation of the network.
    """
    prepared = pretrained_cfg(plan.input_spec._asdict(), plan.arguments.get("in_chans", 3))
    named = {**plan.arguments, "pretrained_cfg_overlay": prepared}
    return "".join(f", {name}={value!r}" for name, value in named.items())
