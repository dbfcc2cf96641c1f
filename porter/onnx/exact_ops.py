"""Operators for ONNX's reference evaluator that compute in float64 what a file's float32 numbers stand for.

Attributes are float32 in every ONNX file, and some of the evaluator's own operators round to float32 inside.
"""

from __future__ import annotations

import math

import numpy as np
from onnx.reference.op_run import OpRun

from porter.core.checkpoint import Array


class Erf(OpRun):
    """The error function; the evaluator's own rounds to float32."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (np.vectorize(math.erf, otypes=[x.dtype])(x),)


class HardSigmoid(OpRun):
    """clip(alpha x + beta, 0, 1), with one sixth for the float32 number nearest to it."""

    op_domain = ""

    def _run(self, x: Array, alpha: float = 0.2, beta: float = 0.5) -> tuple[Array]:
        return (np.clip(x * _meant(alpha) + beta, 0, 1).astype(x.dtype),)


class HardSwish(OpRun):
    """x clip(x / 6 + 1/2, 0, 1), one sixth not rounded to float32."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return ((x * np.clip(x / 6 + 0.5, 0, 1)).astype(x.dtype),)


class LayerNormalization(OpRun):
    """(x - mean) / sqrt(variance + epsilon) over the axes from `axis` on, the epsilon as it was written."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        scale: Array,
        bias: Array | None = None,
        axis: int = -1,
        epsilon: float = 1e-5,
        stash_type: int = 1,  # noqa: ARG002 (the type to round to in between: none here)
    ) -> tuple[Array]:
        axes = tuple(range(axis % x.ndim, x.ndim))
        centred = x - x.mean(axes, keepdims=True)
        variance = (centred**2).mean(axes, keepdims=True)
        normalised = centred / np.sqrt(variance + _meant(epsilon)) * scale
        return (normalised if bias is None else normalised + bias,)


EXACT_OPS = (Erf, HardSigmoid, HardSwish, LayerNormalization)


def _meant(stored: float) -> float:
    """Return one sixth, or the shortest decimal, that float32 stores as `stored`."""
    rounded = np.float32(stored)
    return 1 / 6 if rounded == np.float32(1 / 6) else float(str(rounded))
