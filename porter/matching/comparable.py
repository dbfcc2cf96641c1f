"""Which matched layers a check can compare one by one, as stages of the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from porter.matching.result import MatchedLayer

# A graph writes these out, and what follows the last of their variables still belongs to them.
_WRITTEN_OUT = ("layer_norm", "group_norm")
_ROLES = ("alpha", "parameter")


def has_stage(layer: MatchedLayer, layers: Sequence[MatchedLayer]) -> bool:
    """Whether a layer is a stage: one module, called once, gives just what one layer of the source gives.

    The layers around any other are stages, and the end of the network is compared.

    Args:
        layer: The layer.
        layers: All that were matched.
    """
    calls = sum(each.module == layer.module for each in layers)
    roles = {each["role"] for each in layer.moved}
    is_joined = len({each["leaf"] for each in layer.moved}) < len(layer.moved)
    return not (
        calls > 1
        or is_joined
        or layer.kind in _WRITTEN_OUT
        or roles & set(_ROLES)
        or _gives_heads(layer)
        or _is_inside(layer, layers)
    )


def _gives_heads(layer: MatchedLayer) -> bool:
    """Whether the source's layer has an axis for an attention's heads in what it gives."""
    return any(each["layout"].endswith(("(h k)", "(h k) d", "(h k) d 1 1")) for each in layer.moved)


def _is_inside(layer: MatchedLayer, layers: Sequence[MatchedLayer]) -> bool:
    """Whether a module is a part of `nn.MultiheadAttention`, which computes it without calling it."""
    owner = layer.module.rpartition(".")[0]
    owned = {each.module for each in layers for moved in each.moved if moved["leaf"].startswith("in_proj_")}
    return owner in owned or layer.module in owned
