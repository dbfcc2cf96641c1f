"""A plan aimed at a library other than timm: all that is known before a byte is moved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from porter.core.assignments import Assignment
from porter.errors import PlanError
from porter.outputs.renaming.retargeting import config_of, retarget
from porter.outputs.renaming.target_table import TargetTable, target_table
from porter.planning.plan import Plan
from porter.tables.table_records import InputSpec

# Pillow's numbers, as transformers writes them.
_RESAMPLE = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}


@dataclass(frozen=True, slots=True)
class Aim:
    """What a port to another library will write.

    Attributes:
        table: The target's table.
        assignments: The plan's, under the target's names.
        config: config.json, if the output is a folder.
        preprocessor: preprocessor_config.json, likewise.
        notes: What the person should know before trusting the result.
    """

    table: TargetTable
    assignments: tuple[Assignment, ...]
    config: Mapping[str, object]
    preprocessor: Mapping[str, object]
    notes: tuple[str, ...]


def aim(plan: Plan, target: str) -> Aim:
    """Aim a plan at library `target`.

    Raises:
        PlanError: the target has no such network, or computes another function with these weights.
        TableError: a target table is malformed.
    """
    model = plan.variant.target.name
    table = target_table(target, model)
    known = table.models[model]
    spec = plan.input_spec
    config = {
        "image_size": spec.size,
        **table.config,
        **config_of(table, model, _arguments(plan, table)),
        **known.config,
    }
    if table.native_size and config["image_size"] != spec.size:
        raise PlanError(
            "target/size",
            f"{table.title} pads for one size, and {model} is known at {config['image_size']} pixels only",
            found=f"{plan.variant.name} at {spec.size} pixels",
        )
    return Aim(
        table=table,
        assignments=retarget(table, plan.assignments, plan.bn_eps),
        config=config,
        preprocessor={**_preprocessor(spec), **table.preprocessor, **_channels(plan)},
        notes=(*table.notes, *known.notes),
    )


def _channels(plan: Plan) -> dict[str, object]:
    """Say that images, which are RGB, are turned round for a network that takes BGR."""
    return {} if plan.channel_order == "rgb" else {"do_flip_channel_order": True}


def _arguments(plan: Plan, table: TargetTable) -> dict[str, object]:
    """Return timm's arguments, those that a network of porter's own states in its definition included.

    The epsilon is left out if the target fixes its own: the difference goes into the variances.
    """
    definition: Mapping[str, Any] = plan.variant.network or {}
    stated: Mapping[str, object] = definition.get("arguments", {})
    given = {name: value for name, value in stated.items() if name in table.arguments} | dict(plan.arguments)
    epsilon = plan.variant.bn_eps.argument if plan.variant.bn_eps and table.bn_eps is not None else None
    return {name: value for name, value in given.items() if name != epsilon}


def _preprocessor(spec: InputSpec) -> dict[str, object]:
    """Return transformers' usual steps: shorter side, centre crop, 0..1, mean and standard deviation."""
    return {
        "do_resize": True,
        "size": {"shortest_edge": math.floor(spec.size / spec.crop_pct)},
        "resample": _RESAMPLE[spec.interpolation],
        "do_center_crop": True,
        "crop_size": {"height": spec.size, "width": spec.size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
    }
