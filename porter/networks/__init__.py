"""PyTorch networks that timm has no entry point for, as data: timm's own classes and named adjustments."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from porter.networks.stage_params import from_stage_params as from_stage_params

__all__ = ["from_stage_params"]


def __getattr__(name: str) -> Any:
    """Import the public function when it is asked for: `import porter` stays fast."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.stage_params"), name)
