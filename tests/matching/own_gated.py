"""The torch module for the gated network of `write_own_network.py`, and ways to get it wrong."""

from __future__ import annotations

import torch
from timm.layers import BatchNormAct2d
from torch import nn


class Attention(nn.Module):
    """Two heads of queries over one of keys, which are the values too; kernels are 1x1 convolutions."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.out = (nn.Conv2d(8, n, 1, bias=False) for n in (8, 4, 8))

    def forward(self, x):
        """(N, 8, H, W) -> (N, 8, H, W)."""
        query = self.query(x).flatten(2).unflatten(1, (2, 4)).transpose(2, 3)
        key = self.key(x).flatten(2)[:, None]
        seen = (query @ key).softmax(-1) @ key.transpose(2, 3)
        return self.out(seen.transpose(2, 3).reshape(x.shape))


class Gated(nn.Module):
    """Norms that hold their activation, a gate over channels, attention."""

    def __init__(self, wrong):
        super().__init__()
        gates = (nn.Hardswish, nn.GELU if wrong == "GELU" else nn.SiLU, nn.Hardswish)
        self.body = nn.Sequential(
            *(
                layer
                for number, gate in enumerate(gates)
                for layer in (
                    nn.Conv2d(8 if number else 3, 8, 3, padding=1, bias=False),
                    BatchNormAct2d(8, eps=1e-3, act_layer=gate),
                )
            )
        )
        self.excite = nn.Conv2d(8, 8, 1)
        self.gate = nn.Sigmoid() if wrong == "Sigmoid" else nn.Hardsigmoid()
        self.attention = Attention()
        self.head = nn.Linear(8, 5)

    def forward(self, images):
        """(N, 3, H, W) -> (N, 5)."""
        x = self.body(images)
        x = x * self.gate(self.excite(torch.mean(x, (2, 3), keepdim=True)))
        return self.head((x + self.attention(x)).mean((2, 3)))


def build(wrong=""):
    """Return it; `wrong` is the activation that stands where the source has another."""
    return Gated(wrong)
