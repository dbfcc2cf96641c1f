"""The tensors of a variant's PyTorch network, to hold a table against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from porter.errors import OutputError
from porter.networks.definition import parse
from porter.tables.variants import Variant

if TYPE_CHECKING:
    from torch import nn

# An epsilon that no network has by itself.
_TRIED = 0.0123


def state_dict_shapes(variant: Variant) -> dict[str, tuple[int, ...]]:
    """Build the network of a variant and return the shape of every tensor of its state dict, by name.

    Lengths that a checkpoint decides are those of the table's defaults. A function that the table names is
    run: whoever calls this has made sure that it may be.

    Raises:
        OutputError: the network cannot be built.
        ImportError: torch or timm is not installed.
    """
    return {name: tuple(tensor.shape) for name, tensor in _built(variant).state_dict().items()}


def takes_epsilon(variant: Variant) -> bool:
    """Whether the epsilon that a port passes to the network arrives in at least one of its norms.

    Raises:
        OutputError: the network cannot be built.
        ImportError: torch or timm is not installed.
    """
    if variant.bn_eps is None:
        return True
    try:
        model = _built(variant, **{variant.bn_eps.argument: _TRIED})
    except (AssertionError, AttributeError, OutputError, TypeError, ValueError):
        return False  # without the argument it could be built
    return any(getattr(module, "eps", None) == _TRIED for module in model.modules())


def _built(variant: Variant, **more: Any) -> nn.Module:
    arguments: dict[str, Any] = {**variant.target.arguments, **more}
    model: nn.Module
    if variant.library != "timm":
        from porter.networks.any_target import adjust, build_target

        model = build_target(variant.library, variant.target.name, arguments)
        adjust(model, variant.adjust)
        return model
    if variant.network is None:
        from timm import create_model

        model = create_model(variant.target.name, **arguments)
    else:
        from porter.networks.building import build

        model = build(variant.target.name, parse(variant.network), **arguments)
    return model
