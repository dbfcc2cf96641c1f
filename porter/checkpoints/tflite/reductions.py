"""Operators of TensorFlow Lite that take one number of many: means, maxima, sums, and limits."""

from __future__ import annotations

from collections.abc import Callable

from porter.checkpoints.tflite.graph import Graph
from porter.checkpoints.tflite.schema import Operator

_IMAGE_AXES = (1, 2)
_SHORTEST = 1e-6  # `epsilon` of tensorflow/lite/kernels/internal/reference/l2normalization.h


def mean(graph: Graph, operator: Operator) -> int:
    """Read a mean, which is a pool if it is one over the image."""
    return _over_axes(graph, operator, "global_avg_pool", "Mean")


def maximum(graph: Graph, operator: Operator) -> int:
    """Read a maximum, which is a pool if it is one over the image."""
    return _over_axes(graph, operator, "global_max_pool", "Max")


def total(graph: Graph, operator: Operator) -> int:
    """Read a sum as TensorFlow's graphs have it, the last axis as -1."""
    axes, keeps = _axes(graph, operator)
    constants = [[-1 if axis == _rank(graph, operator) - 1 else axis for axis in axes]]
    attributes = {"class_name": "Sum", "keep_dims": keeps, "takes": "ic", "constants": constants}
    return graph.add("other", operator, (graph.takes(operator, 0),), attributes)


def unit_norm(graph: Graph, operator: Operator) -> int:
    """Read vectors of channels that are divided by their length."""
    attributes = {"axes": (-1,), "shortest": _SHORTEST}
    return graph.add("unit_norm", operator, (graph.takes(operator, 0),), attributes)


def limit(name: str) -> Callable[[Graph, Operator], int]:
    """Return what reads the larger, or smaller, of two maps, or of one and a number."""

    def read(graph: Graph, operator: Operator) -> int:
        computed = [place for place in (0, 1) if graph.is_computed(operator, place)]
        if len(computed) == 2:
            return graph.add(name.lower(), operator, tuple(graph.takes(operator, n) for n in (0, 1)), {})
        place = computed[0] if computed else 0
        inputs = (graph.takes(operator, place),)
        numbers = graph.numbers(operator, 1 - place).ravel()
        if numbers.size != 1:
            return graph.add("other", operator, inputs, {"class_name": f"{name} of {numbers.size} numbers"})
        return graph.add("other", operator, inputs, {"class_name": name, "limit": float(numbers[0])})

    return read


def _over_axes(graph: Graph, operator: Operator, pool: str, name: str) -> int:
    axes, keeps = _axes(graph, operator)
    rank = _rank(graph, operator)
    if tuple(axis % rank if rank else axis for axis in axes) == _IMAGE_AXES:
        return graph.add(pool, operator, (graph.takes(operator, 0),), {"keepdims": keeps})
    attributes = {"class_name": name, "keep_dims": keeps, "axes": list(axes)}
    return graph.add("other", operator, (graph.takes(operator, 0),), attributes)


def _axes(graph: Graph, operator: Operator) -> tuple[tuple[int, ...], bool]:
    """Return the axes as they are stored, in order, and whether they stay, one long."""
    axes = sorted(int(axis) for axis in graph.values(operator, 1).ravel())
    return tuple(axes), bool(operator.options and operator.options.number(0, "?"))


def _rank(graph: Graph, operator: Operator) -> int:
    return len(graph.tensor(operator.inputs[0]).shape)
