"""The torch module for the network of `write_own_network.py`, and two dozen ways to get it wrong."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """Two convolutions with norms, and a shortcut."""

    def __init__(self, wrong, number, given, width, stride):
        super().__init__()
        self.wrong = wrong if number == 1 else ""
        first = {"stride": 1, "dilation": stride}.get(self.wrong, stride)
        dilation = 2 if self.wrong == "dilation" else 1
        padding = 0 if self.wrong == "padding" else dilation
        self.conv1 = nn.Conv2d(given, width, 3, first, padding, dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(width, eps=1e-4)
        groups = 2 if self.wrong == "groups" else 1
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, groups=groups, bias=self.wrong != "folded bias")
        self.bn2 = nn.BatchNorm2d(width, eps=1e-5 if self.wrong == "epsilon" else 1e-3)
        same = stride == 1 and given == width
        self.shortcut = nn.Identity() if same else nn.Conv2d(given, width, 1, stride)
        self.last = nn.ELU() if self.wrong == "elu" else nn.ReLU()

    def forward(self, x):
        """(N, C, H, W) -> (N, C', H', W')."""
        y = self.conv1(x)
        y = self.bn1(functional.relu(y)) if self.wrong == "activation first" else self.bn1(y)
        y = y if self.wrong in ("activation first", "no activation") else functional.relu(y)
        y = (self.bn1 if self.wrong == "one norm twice" else self.bn2)(self.conv2(y))
        factor = 0.5 if self.wrong == "scaled branch" else 1.0
        shortcut = 0 if self.wrong == "no shortcut" else self.shortcut(x)
        return self.last(factor * y + shortcut)


class Average(nn.Module):
    """Averages by a function, as Inception does, and counts the padding as PyTorch does unless told."""

    def forward(self, x):
        """(N, C, H, W) -> (N, C, H, W)."""
        return functional.avg_pool2d(x, 3, 1, 1)


class Network(nn.Module):
    """The whole network; `wrong` names what is wrong with it."""

    def __init__(self, wrong=""):
        super().__init__()
        self.wrong = wrong
        self.stem = nn.Conv2d(3, 16, 3, 1, 1, bias=wrong != "stem bias")
        self.bn = nn.BatchNorm2d(16, eps=1e-3)
        self.blocks = nn.Sequential(
            *(Block(wrong, n, *w) for n, w in enumerate(((16, 16, 1), (16, 24, 2), (24, 24, 1))))
        )
        self.dw = nn.Conv2d(24, 24, 5, 2, 2, groups=24)
        self.sep_dw = nn.Conv2d(24, 24, 3, 1, 1, groups=24, bias=False)
        self.sep_pw = nn.Conv2d(24, 32, 1)
        self.bn2 = nn.BatchNorm2d(32, eps=1e-3)
        self.leaky = {"relu for leaky": nn.ReLU(), "slope": nn.LeakyReLU(0.01)}.get(wrong, nn.LeakyReLU(0.3))
        self.average = Average()
        self.fc1 = nn.Linear(32 * 4 * 4, 12)
        self.fc2 = nn.Linear(12, 5, bias=wrong != "no bias")
        if wrong == "spare layer":
            self.spare = nn.Linear(3, 3)
        if wrong == "token":
            self.token = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        """(N, 3, 16, 16) -> (N, 5)."""
        wrong = self.wrong
        x = x.flip(3) if wrong == "mirrored" else x.flip(1) if wrong == "bgr" else x
        x = self.bn(self.stem(x))
        x = self.blocks(functional.relu(x) if wrong == "uncapped" else functional.relu6(x))
        x = x.flip(1) if wrong == "channels turned" else x
        x = functional.max_pool2d(x, 3, 1, 1) if wrong == "extra pool" else x
        x = self.leaky(self.bn2(self.sep_pw(self.sep_dw(self.dw(x)))))
        x = x if wrong == "no average" else self.average(x)
        x = x.transpose(2, 3) if wrong == "flatten" else x
        x = x.permute(0, 2, 3, 1) if wrong == "channels last" else x
        x = self.fc1(x.flatten(1))
        x = (
            torch.tanh(x)
            if wrong == "tanh"
            else functional.gelu(x)
            if wrong == "gelu"
            else functional.relu(x)
        )
        x = self.fc2(x)
        return x.softmax(1) if wrong == "softmax" else x


def build(wrong=""):
    """Build the network."""
    return Network(wrong)
