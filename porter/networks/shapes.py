"""The tensors of a variant's PyTorch network, to hold a table against."""

from __future__ import annotations

from typing import Any

from porter.networks.definition import parse
from porter.tables.variants import Variant


def state_dict_shapes(variant: Variant) -> dict[str, tuple[int, ...]]:
    """Build the network of a variant and return the shape of every tensor of its state dict, by name.

    Lengths that a checkpoint decides are those of the table's defaults.

    Raises:
        OutputError: the network cannot be built.
        ImportError: torch or timm is not installed.
    """
    arguments: dict[str, Any] = dict(variant.target.arguments)
    if variant.network is None:
        from timm import create_model

        model = create_model(variant.target.name, **arguments)
    else:
        from porter.networks.building import build

        model = build(variant.target.name, parse(variant.network), **arguments)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
