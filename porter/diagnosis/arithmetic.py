"""The layers of convolutional networks in plain numpy float64, for recomputing one stage at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Padding = Literal["same", "symmetric"]

# tf.nn.gelu rounds sqrt(1/2) through float32, in float64 too.
_SQRT_HALF = float(np.float32(0.7071067811865476))


def conv2d(x: Values, kernel: Values, stride: int, padding: Padding, groups: int) -> Values:
    """Convolve.

    Args:
        x: Input, (N, C, H, W).
        kernel: (O, C / groups, h, w).
        stride: Step between two outputs, in pixels, on both axes.
        padding: ``"same"``: TensorFlow's, with the odd pixel at the end; ``"symmetric"``: (kernel - 1) // 2
            on every side, as PyTorch's layers are usually configured.
        groups: 1, or C for a depthwise convolution with O = C.
    """
    height, width = kernel.shape[2:]
    if (height, width, stride, groups) == (1, 1, 1, 1):
        n, c, h, w = x.shape
        return (kernel[:, :, 0, 0] @ x.reshape(n, c, h * w)).reshape(n, -1, h, w)
    pads = [_pads(size, k, stride, padding) for size, k in zip(x.shape[2:], (height, width), strict=True)]
    padded = np.pad(x, [(0, 0), (0, 0), *pads])
    rows = (padded.shape[2] - height) // stride + 1
    columns = (padded.shape[3] - width) // stride + 1
    out = np.zeros((x.shape[0], kernel.shape[0], rows, columns))
    for i in range(height):
        for j in range(width):
            window = padded[:, :, i : i + stride * rows : stride, j : j + stride * columns : stride]
            if groups == 1:
                flat = window.reshape(*window.shape[:2], rows * columns)
                out += (kernel[:, :, i, j] @ flat).reshape(out.shape)
            else:
                out += kernel[:, 0, i, j, None, None] * window
    return out


def _pads(size: int, kernel: int, stride: int, padding: Padding) -> tuple[int, int]:
    if padding == "symmetric":
        return (kernel - 1) // 2, (kernel - 1) // 2
    missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return missing // 2, missing - missing // 2


def softmax(x: Values) -> Values:
    """Normalise over the last axis."""
    raised = np.exp(x - x.max(axis=-1, keepdims=True))
    normal: Values = raised / raised.sum(axis=-1, keepdims=True)
    return normal


def _gelu(x: Values, factor: float) -> Values:
    tail = np.fromiter(map(math.erfc, (x * -factor).ravel().tolist()), np.float64, x.size)
    return 0.5 * x * tail.reshape(x.shape)


def _gelu_tanh(x: Values) -> Values:
    # Hendrycks and Gimpel, Gaussian Error Linear Units, section 2.
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def _sigmoid(x: Values) -> Values:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


ACTIVATIONS: Mapping[str, Callable[[Values], Values]] = MappingProxyType(
    {
        "relu": lambda x: np.maximum(x, 0.0),
        "identity": lambda x: x,
        "relu6": lambda x: np.clip(x, 0.0, 6.0),
        "gelu (exact)": lambda x: _gelu(x, math.sqrt(0.5)),
        "gelu (exact, TensorFlow's float32 constant)": lambda x: _gelu(x, _SQRT_HALF),
        "gelu (tanh)": _gelu_tanh,
        "silu": lambda x: x * _sigmoid(x),
        "hard_swish": lambda x: x * np.clip(x + 3.0, 0.0, 6.0) / 6.0,
        "hard_swish (x 0.16667)": lambda x: x * np.clip(x + 3.0, 0.0, 6.0) * 0.16667,
        "leaky_relu (0.01)": lambda x: np.where(x > 0, x, 0.01 * x),
    }
)
GATES: Mapping[str, Callable[[Values], Values]] = MappingProxyType(
    {
        "sigmoid": _sigmoid,
        "hard_sigmoid (relu6(x + 3) / 6)": lambda x: np.clip(x + 3.0, 0.0, 6.0) / 6.0,
        # The Model Garden's, in official/modeling/activations/sigmoid.py.
        "hard_sigmoid (relu6(x + 3) * 0.16667)": lambda x: np.clip(x + 3.0, 0.0, 6.0) * 0.16667,
        # tf.keras.activations.hard_sigmoid of Keras 2.
        "hard_sigmoid (0.2 x + 0.5)": lambda x: np.clip(0.2 * x + 0.5, 0.0, 1.0),
        "identity": lambda x: x,
    }
)


def _cut(x: Values, bits: int) -> Values:
    """Round to float32 and then to `bits` fewer bits of mantissa, ties away from zero."""
    words = np.asarray(x, np.float32).view(np.uint32)
    half, mask = np.uint32(1 << (bits - 1)), np.uint32(0xFFFFFFFF ^ ((1 << bits) - 1))
    return ((words + half) & mask).view(np.float32).astype(np.float64)


# Of float32's 23 bits of mantissa, TF32 keeps 10 and bfloat16 7.
ROUNDINGS: Mapping[str, Callable[[Values], Values]] = MappingProxyType(
    {
        "tf32": lambda x: _cut(x, 13),
        "bf16": lambda x: _cut(x, 16),
        "float16": lambda x: x.astype(np.float16).astype(np.float64),
        "float32": lambda x: x.astype(np.float32).astype(np.float64),
    }
)
