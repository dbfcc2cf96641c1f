"""Networks that are built to be loaded: no random weights are drawn that a file replaces at once."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import init
from torch.overrides import TorchFunctionMode

# Drawing takes a fifth of the time of loading a large network. The functions of `init` are named too, because
# what they call inside is not seen here.
_DRAWS = frozenset(
    {
        torch.Tensor.normal_,
        torch.Tensor.uniform_,
        torch.Tensor.erfinv_,
        init.normal_,
        init.uniform_,
        init.trunc_normal_,
        init.kaiming_normal_,
        init.kaiming_uniform_,
        init.xavier_normal_,
        init.xavier_uniform_,
    }
)


class NoDrawing(TorchFunctionMode):
    """Leaves parameters as the memory is if they would be drawn at random; constants are set as ever.

    Only for a network whose every parameter is loaded afterwards, strictly.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of torch, unless it draws."""
        if func in _DRAWS:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))
