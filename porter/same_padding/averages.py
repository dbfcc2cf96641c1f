"""Averages over images that leave the padding out, as TensorFlow's do, in networks that count it as zeros."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

AVERAGE: Callable[..., torch.Tensor] = nn.functional.avg_pool2d
_PLACE = 5  # of `count_include_pad` among the arguments


def average_without_padding(module: nn.Module) -> None:
    """Make a module's averages over images leave the padding out, in place; names of the state dict stay.

    Args:
        module: An `nn.AvgPool2d`, or any module that calls `avg_pool2d` in its `forward`, which cannot be
            changed from outside: there it is changed as it is called, in the modules inside too.
    """
    if isinstance(module, nn.AvgPool2d):
        module.count_include_pad = False
    elif not isinstance(module, _Averaging):
        module.__class__ = _averaging(type(module))


def counts_padding(arguments: Sequence[Any], named: Mapping[str, Any]) -> bool:
    """Whether a call of `avg_pool2d` pads, and counts what it pads."""
    padding = named.get("padding", arguments[3] if len(arguments) > 3 else 0)
    counted = named.get("count_include_pad", arguments[_PLACE] if len(arguments) > _PLACE else True)
    return bool(counted) and any(padding if isinstance(padding, list | tuple) else [padding])


def average(arguments: Sequence[Any], named: Mapping[str, Any]) -> torch.Tensor:
    """Call `avg_pool2d` with these arguments, but so that it leaves the padding out."""
    if len(arguments) > _PLACE:
        return AVERAGE(*arguments[:_PLACE], *(False,), *arguments[_PLACE + 1 :], **named)
    return AVERAGE(*arguments, **{**named, "count_include_pad": False})


class _WithoutPadding(TorchFunctionMode):
    def __torch_function__(
        self, function: Any, _: Any, arguments: Sequence[Any] = (), named: Mapping[str, Any] | None = None
    ) -> Any:
        named = named or {}
        return average(arguments, named) if function is AVERAGE else function(*arguments, **named)


class _Averaging:
    """Put in front of a module's class."""

    def forward(self, *arguments: Any, **named: Any) -> Any:
        with _WithoutPadding():
            return super().forward(*arguments, **named)  # type: ignore[misc]


def _averaging(kind: type[nn.Module]) -> type[nn.Module]:
    return type(kind.__name__, (_Averaging, kind), {"__module__": kind.__module__})
