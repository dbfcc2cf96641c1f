"""The torch module for the gated network of `write_own_network.py`, and a way to get it wrong."""

from __future__ import annotations

from timm.layers import BatchNormAct2d
from torch import nn


def build(wrong=""):
    """Return it; `wrong` names an activation, which then takes the place of the swish."""
    gates = (nn.Hardswish, getattr(nn, wrong or "SiLU"), nn.Hardswish)
    layers = [
        layer
        for number, gate in enumerate(gates)
        for layer in (
            nn.Conv2d(8 if number else 3, 8, 3, padding=1, bias=False),
            BatchNormAct2d(8, eps=1e-3, act_layer=gate),
        )
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
