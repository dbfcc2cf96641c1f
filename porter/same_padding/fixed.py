"""A convolution that pads stated amounts, at every size: what Keras's ZeroPadding2D in front of one does."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from porter.same_padding.padding_error import SamePaddingError


class Conv2dPadded(nn.Conv2d):
    """A convolution after zeros on each side: `pads` left, right, top and bottom, in pixels."""

    pads: tuple[int, int, int, int]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pad and convolve: (N, C, H, W) in, (N, O, H', W') out."""
        padded = nn.functional.pad(x, self.pads)
        return nn.functional.conv2d(
            padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups
        )

    def extra_repr(self) -> str:
        """Say what it pads."""
        native: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{native}, pads={self.pads}"


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
