"""A block of ResNetV2 that halves the resolution without a convolution in its shortcut."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class StridedPreActBottleneck(nn.Module):
    """timm's bottleneck with a stride and no convolution beside it: what is added is every second pixel.

    Maps (N, C, H, W) to (N, C, ceil(H / stride), ceil(W / stride)). Its modules have timm's names.

    Args:
        block: A `timm.models.resnetv2.PreActBottleneck` without a stride, whose modules this one takes over.
        stride: Along height and width.
    """

    def __init__(self, block: Any, stride: tuple[int, int]) -> None:
        super().__init__()
        self.norm1, self.conv1 = block.norm1, block.conv1
        self.norm2, self.conv2 = block.norm2, block.conv2
        self.norm3, self.conv3 = block.norm3, block.conv3
        self.drop_path = block.drop_path
        self.conv2.stride = stride
        self._stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the block."""
        down, right = self._stride
        branch = self.conv1(self.norm1(x))
        branch = self.conv2(self.norm2(branch))
        branch = self.conv3(self.norm3(branch))
        added: torch.Tensor = self.drop_path(branch) + x[:, :, ::down, ::right]
        return added
