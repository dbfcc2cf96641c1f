"""Operators that move pixels or colours and compute nothing: sizes, crops, colours turned round.

Their names are those of the operations of TensorFlow's graphs that they were. Source of the codes and of the
fields of options: tensorflow/lite/schema/schema.fbs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from porter.checkpoints.tflite.graph import Graph
from porter.checkpoints.tflite.schema import Operator
from porter.core.checkpoint import Array
from porter.core.stored_network import REVERSED_CHANNELS

Reader = Callable[[Graph, Operator], int]

_REVERSED = [2, 1, 0]
_RANK = 4
_LAST = (-1, _RANK - 1)
_FLOATS = (0, 1, 10)  # FLOAT32, FLOAT16, FLOAT64


def _resize(name: str, corners: int) -> Reader:
    """Read a resize whose options say from field `corners` on where a pixel's value stands."""

    def read(graph: Graph, operator: Operator) -> int:
        size, options = _constant(graph, operator, 1), operator.options
        attributes = {
            "size": None if size is None else tuple(size),
            "interpolation": name,
            "align_corners": bool(options and options.number(corners, "?")),
            "half_pixel_centers": bool(options and options.number(corners + 1, "?")),
        }
        return graph.add("resize", operator, (graph.takes(operator, 0),), attributes)

    return read


def _slice(graph: Graph, operator: Operator) -> int:
    """Read ``x[..., ::-1]``, ``x[..., K]``, or what else is cut out."""
    bounds = [_constant(graph, operator, place) for place in (1, 2, 3)]
    masks = [0 if operator.options is None else operator.options.number(field, "i") for field in range(5)]
    begin, end, ellipsis, new, shrunk = masks
    axes = [] if bounds[2] is None else bounds[2]
    is_whole = [bool(begin & end & 1 << n) or bool(ellipsis & 1 << n) for n in range(len(axes))]
    if axes and not new and all(is_whole[:-1]) and axes[:-1] == [1] * (len(axes) - 1):
        if axes[-1] == -1 and is_whole[-1] and not shrunk:
            return _reversal(graph, operator)
        if axes[-1] == 1 and shrunk == 1 << len(axes) - 1 and bounds[0]:
            return _named(
                graph, operator, "StridedSlice", constants=bounds, masks=masks, channel=bounds[0][-1]
            )
    return _named(graph, operator, "StridedSlice", constants=bounds, masks=masks)


def _pack(graph: Graph, operator: Operator) -> int:
    """Read a stack of the single channels 2, 1 and 0 of one image, or another."""
    taken = [graph.operations[graph.of_tensor[n]] for n in operator.inputs if n in graph.of_tensor]
    axis = None if operator.options is None else operator.options.number(1, "i")
    sources = {operation.inputs for operation in taken}
    channels = [operation.attributes.get("channel") for operation in taken]
    if channels == _REVERSED and len(sources) == 1 and axis in _LAST and len(operator.inputs) == len(taken):
        return graph.add("other", operator, sources.pop(), {"class_name": REVERSED_CHANNELS})
    return _named(graph, operator, "Pack")


def _transpose(graph: Graph, operator: Operator) -> int:
    return _named(graph, operator, "Transpose", constants=[_constant(graph, operator, 1)])


def _reverse(graph: Graph, operator: Operator) -> int:
    axes = _constant(graph, operator, 1)
    is_last = axes is not None and len(axes) == 1 and axes[0] in _LAST
    return _reversal(graph, operator) if is_last else _named(graph, operator, "ReverseV2", constants=axes)


def _gather(graph: Graph, operator: Operator) -> int:
    axis = None if operator.options is None else operator.options.number(0, "i")
    is_turned = axis in _LAST and _constant(graph, operator, 1) == _REVERSED
    return _reversal(graph, operator) if is_turned else _named(graph, operator, "GatherV2")


def _cast(graph: Graph, operator: Operator) -> int:
    if operator.outputs and graph.tensor(operator.outputs[0]).type in _FLOATS:
        return graph.takes(operator, 0)
    return _named(graph, operator, "Cast")


def _reversal(graph: Graph, operator: Operator) -> int:
    return graph.add("other", operator, (graph.takes(operator, 0),), {"class_name": REVERSED_CHANNELS})


def _named(graph: Graph, operator: Operator, name: str, **attributes: Any) -> int:
    inputs = tuple(graph.of_tensor[number] for number in operator.inputs if number in graph.of_tensor)
    return graph.add("other", operator, inputs, {"class_name": name, **attributes})


def _constant(graph: Graph, operator: Operator, position: int) -> list[int] | None:
    """Return a short constant input of integers, or None."""
    if position >= len(operator.inputs) or operator.inputs[position] not in graph.constants:
        return None
    values: Array = graph.values(operator, position)
    return values.ravel().tolist() if np.issubdtype(values.dtype, np.integer) else None


def _plain(name: str) -> Reader:
    return lambda graph, operator: _named(graph, operator, name)


IMAGE_READERS: Mapping[int, Reader] = {
    23: _resize("bilinear", 2),
    36: _gather,
    39: _transpose,
    45: _slice,
    53: _cast,
    65: _plain("Slice"),
    83: _pack,
    88: _plain("Unpack"),
    97: _resize("NearestNeighbor", 0),
    105: _reverse,
}
"""How each is read, by its code."""
