"""A convolution that pads stated amounts, at every size: what Keras's ZeroPadding2D in front of one does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from porter.same_padding.padding_error import SamePaddingError


class Conv2dPadded(nn.Conv2d):
    """A convolution with its own number of zeros at each side.

    Args:
        pads: Zeros at the (left, right, top, bottom), in pixels.
        *args: As for `torch.nn.Conv2d`, without padding.
        **kwargs: Likewise.
    """

    def __init__(self, pads: tuple[int, int, int, int], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pads = pads

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002  torch.nn.Conv2d's own name
        """Pad and convolve: (N, C, H, W) to (N, C_out, H_out, W_out)."""
        return nn.Conv2d.forward(self, nn.functional.pad(input, self.pads))

    def extra_repr(self) -> str:
        """Return what torch says, and the zeros."""
        said: str = nn.Conv2d.extra_repr(self)  # type: ignore[no-untyped-call]
        return f"{said}, pads={self.pads}"


def pad_fixed(module: nn.Conv2d, amounts: Sequence[Sequence[int]]) -> None:
    """Make a convolution pad fixed amounts in place of its own padding; names and parameters stay.

    Args:
        module: The convolution, of any class.
        amounts: (top, bottom) and (left, right), in pixels.

    Raises:
        SamePaddingError: the amounts are not four whole numbers (``same-padding/amounts``).
    """
    try:
        (top, bottom), (left, right) = amounts
    except (TypeError, ValueError):
        raise _malformed(amounts) from None
    pads = left, right, top, bottom
    if any(type(pixels) is not int or pixels < 0 for pixels in pads):
        raise _malformed(amounts)
    module.__class__ = Conv2dPadded
    module.pads = pads  # type: ignore[assignment]
    module.padding = (0, 0)


def _malformed(amounts: object) -> SamePaddingError:
    return SamePaddingError(
        "same-padding/amounts",
        "padding is four whole numbers",
        expected="[[top, bottom], [left, right]]",
        found=repr(amounts),
        hint="Port the source again.",
    )
