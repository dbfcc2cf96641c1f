"""Parameters of a PyTorch network that no layer holds, such as layer scale: seen where they are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

_OPERATORS = {
    "multiply": ("mul", "mul_", "__mul__", "__rmul__", "__imul__"),
    "add": ("add", "add_", "__add__", "__radd__", "__iadd__"),
}
_USES = {getattr(torch.Tensor, name): use for use, names in _OPERATORS.items() for name in names} | {
    torch.mul: "multiply",
    torch.add: "add",
}
_CONCATENATE = (torch.cat, torch.concat, torch.concatenate)


class BareParameter(nn.Module):
    """A parameter that is multiplied or added where it is used, as the layer that it could be.

    Args:
        leaf: Its name in the module that owns it.
        parameter: The parameter itself.

    Attributes:
        use: ``"multiply"``, ``"add"``, or ``"token"``: put in front of a sequence.
        has_channels_first: Whether what it is applied to is (N, C, H, W).
    """

    def __init__(self, leaf: str, parameter: nn.Parameter) -> None:
        super().__init__()
        self.leaf = leaf
        self.register_parameter(leaf, parameter)
        self.use, self.has_channels_first = "", False
        self._view = torch.empty(0)

    def used(self, use: str, view: torch.Tensor, x: torch.Tensor) -> None:
        """Note how it is used: for what, in which view of itself, on what."""
        self.use, self._view = use, view
        self.has_channels_first = x.dim() == 4 and view.dim() > 2 and view.shape[-3] != 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what its use gives."""
        if self.use == "token":
            return torch.cat([self._view, x], dim=1)
        return x + self._view if self.use == "add" else x * self._view


def bare_parameters(model: nn.Module, layers: tuple[type[nn.Module], ...]) -> dict[BareParameter, nn.Module]:
    """Return every parameter of a module that is none of `layers`, and the module.

    A module that has buffers too computes more than a product or a sum with them, and is left out.
    """
    return {
        BareParameter(leaf, parameter): module
        for module in model.modules()
        if not isinstance(module, layers) and not list(module.buffers(recurse=False))
        for leaf, parameter in module.named_parameters(recurse=False)
    }


class ParameterUse(TorchFunctionMode):
    """Calls `call` in the place of every product and every sum of a tensor with a bare parameter.

    Args:
        bare: The parameters.
        call: Takes the parameter and what it is applied to.
    """

    def __init__(
        self, bare: Sequence[BareParameter], call: Callable[[BareParameter, torch.Tensor], torch.Tensor]
    ) -> None:
        super().__init__()
        self._call = call
        self._places = {each.get_parameter(each.leaf).untyped_storage().data_ptr(): each for each in bare}

    def __torch_function__(
        self, function: Any, _: Any, arguments: Sequence[Any] = (), named: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, or `call` in its place."""
        named = named or {}
        use, pairs = _USES.get(function, ""), [arguments, arguments[::-1]]
        if function in _CONCATENATE and (arguments[1:] or named.get("dim")) in ((1,), 1):
            use, pairs = "token", [arguments[0]]
        for pair in pairs if use else ():
            found = self._bare(pair[0]) if len(pair) == 2 else None
            if found is not None and isinstance(pair[1], torch.Tensor) and self._bare(pair[1]) is None:
                found.used(use, *pair)
                return self._call(found, pair[1])
        return function(*arguments, **named)

    def _bare(self, value: Any) -> BareParameter | None:
        if not isinstance(value, torch.Tensor):
            return None
        return self._places.get(value.untyped_storage().data_ptr())
