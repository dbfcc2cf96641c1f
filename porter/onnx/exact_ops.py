"""Operators for ONNX's reference evaluator that compute in float64 what a file's float32 numbers stand for.

Attributes are float32 in every ONNX file, and some of the evaluator's own operators round to float32 inside.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from onnx.reference.op_run import OpRun

from porter.core.checkpoint import Array

_DENOMINATOR, _FEW_DIGITS = 512, 7


class Erf(OpRun):
    """The error function; the evaluator's own rounds to float32."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (np.vectorize(math.erf, otypes=[x.dtype])(x),)


class Elu(OpRun):
    """x above zero, alpha (exp(x) - 1) below, the factor as it was written."""

    op_domain = ""

    def _run(self, x: Array, alpha: float = 1.0) -> tuple[Array]:
        return (np.where(x > 0, x, _meant(alpha) * np.expm1(np.minimum(x, 0))).astype(x.dtype),)


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


class LeakyRelu(OpRun):
    """x above zero, alpha x below, the slope as it was written."""

    op_domain = ""

    def _run(self, x: Array, alpha: float = 0.01) -> tuple[Array]:
        return (np.where(x > 0, x, _meant(alpha) * x).astype(x.dtype),)


EXACT_OPS = (Elu, Erf, HardSigmoid, HardSwish, LayerNormalization, LeakyRelu)


def _meant(stored: float) -> float:
    """Return the fraction of small numbers, or else the shortest decimal, that float32 stores as `stored`."""
    rounded = np.float32(stored)
    shortest, fraction = float(str(rounded)), float(Fraction(float(rounded)).limit_denominator(_DENOMINATOR))
    is_decimal = len(str(rounded).partition("e")[0].replace(".", "").strip("-0")) < _FEW_DIGITS
    return fraction if not is_decimal and np.float32(fraction) == rounded else shortest
