"""What a ported file says of itself: where it came from, and how its library builds the network for it."""

from __future__ import annotations

import json
from typing import Any

from porter.core.cut import to_text as cut_to_text
from porter.core.head import to_text
from porter.planning.plan import Plan
from porter.version import VERSION


def describe(plan: Plan, container: str, dtype: str | None) -> dict[str, str]:
    """Return the metadata of a ported file, as safetensors wants it: strings only.

    The same source gives the same metadata: there is no date and no folder in it. Name, length and
    SHA-256 of the source files are added by `porter.transfer`, which reads them.

    Args:
        plan: What was ported.
        container: The source's container in words.
        dtype: The floating-point type that was asked for, or None if the stored one was kept.
    """
    variant = plan.variant
    weights = {"read": plan.weights, "from_average": plan.from_average}
    images: dict[str, object] = {
        "size": plan.input_spec.size,
        "mean": plan.input_spec.mean,
        "std": plan.input_spec.std,
        "crop_pct": plan.input_spec.crop_pct,
        "interpolation": plan.input_spec.interpolation,
    }
    if plan.channel_order != "rgb":
        images["channel_order"] = plan.channel_order
    table = {"file": variant.table.name, "version": variant.version, "sha256": variant.digest}
    rare = {}
    if variant.library != "timm":
        rare["porter.library"] = variant.library
    if variant.adjust:
        rare["porter.adjust"] = _json(dict(variant.adjust))
    if variant.network is not None:
        rare["porter.network"] = _json(dict(variant.network))
    if plan.classifier_activation not in (None, "softmax"):  # softmax is what everybody takes for granted
        rare["porter.classifier_activation"] = str(plan.classifier_activation)
    if plan.head:
        rare["porter.head"] = to_text(plan.head)
    if plan.cut is not None:
        rare["porter.cut"] = cut_to_text(plan.cut)
    if plan.class_names is not None:
        rare["porter.class_names"] = _json(plan.class_names._asdict())
    if plan.classes != "all":
        rare["porter.classes"] = plan.classes
    return {
        "format": "pt",
        "porter.version": VERSION,
        "porter.variant": variant.name,
        "porter.model": variant.target.name,
        "porter.arguments": _json(plan.arguments),
        "porter.source_format": container,
        "porter.weights": _json(weights),
        "porter.dtype": dtype or "as stored",
        "porter.bn_eps": _json({"value": plan.bn_eps, "source": plan.bn_eps_source}),
        "porter.input": _json(images),
        "porter.table": _json(table),
        **rare,
    }


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)
