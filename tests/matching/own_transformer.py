"""The torch module for the transformer of `write_own_network.py`, and ways to get it wrong."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

_MULTIHEAD = ("multihead", "sequence first", "other heads")


class Mixer(nn.Module):
    """A depthwise convolution, a norm of images, two dense layers, and layer scale."""

    def __init__(self, wrong):
        super().__init__()
        self.wrong = wrong
        self.dw = nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.norm = nn.LayerNorm(24, eps=1e-6)
        self.fc1, self.fc2 = nn.Linear(24, 48), nn.Linear(48, 24)
        self.gamma = nn.Parameter(torch.ones(24))

    def forward(self, x):
        """(N, 24, H, W) -> (N, 24, H, W)."""
        y = self.norm(self.dw(x).permute(0, 2, 3, 1))
        y = self.fc2(functional.gelu(self.fc1(y))).permute(0, 3, 1, 2)
        return x + (y if self.wrong == "no scale" else y * self.gamma.reshape(1, -1, 1, 1))


class Attention(nn.Module):
    """Query, key and value by one layer."""

    def __init__(self, wrong):
        super().__init__()
        self.wrong = wrong
        self.qkv, self.proj = nn.Linear(24, 72), nn.Linear(24, 24)

    def forward(self, x):
        """(N, T, 24) -> (N, T, 24)."""
        count, length, width = x.shape
        q, k, v = self.qkv(x).reshape(count, length, 3, 3, 8).permute(2, 0, 3, 1, 4)
        scale = 1.0 if self.wrong == "unscaled" else 8**-0.5
        weights = (scale * q @ k.transpose(-2, -1)).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(count, length, width))


class Multihead(nn.Module):
    """The same by PyTorch's own module, which owns the parameters of its first layer."""

    def __init__(self, wrong):
        super().__init__()
        self.behind = wrong == "sequence first"
        heads = 4 if wrong == "other heads" else 3
        self.both = nn.MultiheadAttention(24, heads, batch_first=not self.behind)

    def forward(self, x):
        """(N, T, 24) -> (N, T, 24)."""
        x = x.transpose(0, 1) if self.behind else x
        x = self.both(x, x, x, need_weights=False)[0]
        return x.transpose(0, 1) if self.behind else x


class Network(nn.Module):
    """The whole network; `wrong` names what is wrong with it."""

    def __init__(self, wrong=""):
        super().__init__()
        self.wrong = wrong
        self.patches = nn.Conv2d(3, 24, 4, 4)
        self.mixer = Mixer(wrong)
        self.token = nn.Parameter(torch.zeros(1, 1, 24))
        self.positions = nn.Parameter(torch.zeros(1, 17, 24))
        self.norm1, self.norm2 = nn.LayerNorm(24, eps=1e-3), nn.LayerNorm(24, eps=1e-3, bias=wrong != "bias")
        self.attention = (Multihead if wrong in _MULTIHEAD else Attention)(wrong)
        self.head = nn.Linear(24, 5)

    def forward(self, x):
        """(N, 3, 16, 16) -> (N, 5)."""
        x = self.mixer(self.patches(x)).flatten(2)
        x = x if self.wrong == "no transpose" else x.transpose(1, 2)
        x = x.reshape(-1, 16, 24)
        token = self.token.expand(len(x), -1, -1)
        x = torch.cat([x, token] if self.wrong == "token behind" else [token, x], dim=1)
        x = x if self.wrong == "no positions" else x + self.positions
        x = self.norm2(x + self.attention(self.norm1(x)))
        return self.head(x.mean(1) if self.wrong == "mean" else x[:, 0])


def build(wrong=""):
    """Return it."""
    return Network(wrong)
