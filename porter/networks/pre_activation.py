"""A block of ResNetV2 that halves the resolution without a convolution in its shortcut."""

from __future__ import annotations

import torch
from timm.models.resnetv2 import PreActBottleneck
from torch import nn


class StridedPreActBottleneck(nn.Module):
    """timm's bottleneck with a stride and no convolution beside it: what is added is every second pixel.

    Maps (N, C, H, W) to (N, C, ceil(H / stride), ceil(W / stride)). Its modules have timm's names.

    Args:
        block: The block without a stride, whose modules this one takes over.
        stride: Along height and width.
    """

    def __init__(self, block: PreActBottleneck, stride: tuple[int, int]) -> None:
        super().__init__()
        for name, module in block.named_children():
            self.add_module(name, module)
        self.conv2.stride = stride
        self._stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the block."""
        down, right = self._stride
        branch = self.conv1(self.norm1(x))
        branch = self.conv2(self.norm2(branch))
        branch = self.conv3(self.norm3(branch))
        return self.drop_path(branch) + x[:, :, ::down, ::right]
