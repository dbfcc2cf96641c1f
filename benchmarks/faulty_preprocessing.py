"""Images prepared as the Model Garden does, and as people do by mistake."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import interpolate

# What the diagnosis should say of each fault.
PREPROCESSING = {
    "divided by 255 twice": ("preprocessing-scale",),
    "pixels in 0..255": ("preprocessing-normalisation", "preprocessing-scale"),
    "no normalisation": ("preprocessing-normalisation",),
    "mean and std of 0.5": ("preprocessing-normalisation",),
    "BGR": ("preprocessing-channel-order",),
    "BGR before normalisation": ("preprocessing-channel-order",),
    "other interpolation": ("preprocessing-resize",),
    "antialiased resize": ("preprocessing-resize",),
    "other crop": ("preprocessing-resize",),
    "mirrored": ("preprocessing-orientation",),
}


def image(seed: int, size: int) -> torch.Tensor:
    """A image with shapes and texture in 0..1, (1, 3, size, size): noise alone cannot be resized."""
    draw = np.random.default_rng(seed)
    coarse = torch.from_numpy(draw.random((1, 3, 9, 9)))
    texture = torch.from_numpy(draw.random((1, 3, size, size)))
    return 0.8 * interpolate(coarse, size=(size, size), mode="bilinear") + 0.2 * texture


def prepared(x: torch.Tensor, size: int, fault: str = "") -> torch.Tensor:
    """Resize to (1, 3, size, size) and normalise as the Model Garden does, or with a fault."""
    if fault == "other crop":
        edge = x.shape[2] // 16
        x = x[:, :, edge:-edge, edge:-edge]
    mode = "bicubic" if fault == "other interpolation" else "bilinear"
    x = interpolate(x, size=(size, size), mode=mode, antialias=fault == "antialiased resize")
    if fault == "no normalisation":
        return x
    if fault == "pixels in 0..255":
        x = x * 255
    if fault == "BGR before normalisation":
        x = x.flip(1)
    half = fault == "mean and std of 0.5"
    mean = (0.5, 0.5, 0.5) if half else (0.485, 0.456, 0.406)
    std = (0.5, 0.5, 0.5) if half else (0.229, 0.224, 0.225)
    x = (x - x.new_tensor(mean).view(1, 3, 1, 1)) / x.new_tensor(std).view(1, 3, 1, 1)
    after = {"divided by 255 twice": lambda: x / 255, "mirrored": lambda: x.flip(3), "BGR": lambda: x.flip(1)}
    return after.get(fault, lambda: x)()
