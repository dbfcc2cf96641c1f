"""Arithmetic with a constant in TensorFlow Lite: scalings, and the weights of norms that no layer took in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from porter.checkpoints.tflite.graph import Graph
from porter.checkpoints.tflite.schema import Operator

_MOST_SCALES = 64
# The sixth of a hard sigmoid in a model whose constants are float16; nothing that is known scales by another.
_ROUNDED_SIXTH = float(np.float16(1 / 6))
# The operations of TensorFlow's graphs that they were.
_OPERATIONS = {"add": "AddV2", "subtract": "Sub", "multiply": "Mul"}


def with_constant(graph: Graph, operator: Operator, kind: str, computed: int) -> int | None:
    """Add an operator that takes one constant; return its number, or None if it is not understood.

    Args:
        graph: What was read so far.
        operator: The operator.
        kind: ``"add"``, ``"subtract"``, ``"multiply"`` or ``"divide"``.
        computed: Which of its two inputs is not the constant.

    Raises:
        Malformed: the constant cannot be read.
    """
    number = graph.takes(operator, computed)
    if kind in _OPERATIONS and graph.is_learned[number] and _is_per_channel(graph, operator, computed):
        return _weighted(graph, operator, kind, computed)
    constant = graph.numbers(operator, 1 - computed).astype(np.float64).ravel()
    if not 0 < constant.size <= _MOST_SCALES:
        return None
    one, none = np.ones_like(constant), np.zeros_like(constant)
    with np.errstate(divide="ignore"):
        scale, offset = {
            "add": (one, constant),
            "subtract": (one, -constant) if computed == 0 else (-one, constant),
            "multiply": (constant, none),
            "divide": (1 / constant, none),
        }[kind]
    return graph.add("scale", operator, (number,), {"scale": _plain(scale), "offset": _plain(offset)})


def _is_per_channel(graph: Graph, operator: Operator, computed: int) -> bool:
    """Whether the constant has a number for each of several channels."""
    shape = graph.tensor(operator.inputs[1 - computed]).shape
    given = graph.shapes[graph.takes(operator, computed)]
    return bool(shape and given) and math.prod(shape) == shape[-1] > 1 and given[-1] in (1, shape[-1])


def _weighted(graph: Graph, operator: Operator, kind: str, computed: int) -> int:
    """Add arithmetic behind layers with weights as arithmetic with a weight, or as a dense layer's bias.

    In front of them, the like prepares images, and the numbers tell how.
    """
    number = graph.takes(operator, computed)
    before, shape = graph.operations[number], graph.tensor(operator.inputs[1 - computed]).shape
    key = graph.weight(operator, 1 - computed, "", shape[-1:])
    if kind == "add" and before.kind == "dense" and "bias" not in before.variables:
        variables = {**before.variables, "bias": key}
        return graph.add("dense", operator, before.inputs, {**before.attributes, "use_bias": True}, variables)
    takes = "wi" if kind == "subtract" and computed == 1 else "iw"
    attributes = {"class_name": _OPERATIONS[kind], "takes": takes}
    return graph.add("other", operator, (number,), attributes, {"weight": key})


def _plain(values: Any) -> float | tuple[float, ...]:
    if (values == _ROUNDED_SIXTH).all():
        return 1 / 6
    return float(values[0]) if (values == values[0]).all() else tuple(values.tolist())
