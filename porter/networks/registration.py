"""timm's registry learns the networks of porter's tables."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from timm.models import is_model, register_model

from porter.networks.catalogue import Listed, list_networks
from porter.tables.index import mappings_folder


def register() -> None:
    """Register every network of the tables that come with porter, so that `timm.create_model` builds it.

    A name that is known already is left alone.
    """
    here = sys.modules[__name__]
    for name, listed in list_networks(mappings_folder()).items():
        if not is_model(name):
            entry = _entry_point(listed)
            setattr(here, name, entry)  # timm adds the name to this module's __all__
            register_model(entry)


def _entry_point(listed: Listed) -> Callable[..., Any]:
    images = listed.input
    overlay: dict[str, Any] = {key: images[key] for key in ("crop_pct", "interpolation")}
    overlay |= {key: tuple(images[key]) for key in ("mean", "std")}

    def entry(pretrained: bool = False, **arguments: Any) -> Any:  # noqa: FBT001, FBT002 (timm's signature)
        from porter.networks.building import build

        channels = arguments.get("in_chans", 3)
        size = {"input_size": (channels, images["size"], images["size"])}
        given = {**overlay, **size, **(arguments.pop("pretrained_cfg_overlay", None) or {})}
        return build(
            listed.name,
            listed.definition,
            pretrained=pretrained,
            pretrained_cfg_overlay=given,
            **arguments,
        )

    entry.__name__ = listed.name
    return entry
