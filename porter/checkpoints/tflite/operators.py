"""What the operators of TensorFlow Lite compute, in the terms of a stored network.

Source of the codes and of the fields of options: tensorflow/lite/schema/schema.fbs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from porter.checkpoints.tflite.constants import with_constant
from porter.checkpoints.tflite.graph import Graph
from porter.checkpoints.tflite.image_operators import IMAGE_READERS
from porter.checkpoints.tflite.reductions import limit, maximum, mean, total, unit_norm
from porter.checkpoints.tflite.schema import Model, Operator
from porter.formats.flatbuffer import Table
from porter.formats.malformed import Malformed

_RELU: Mapping[str, Any] = {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}
_HARD: Mapping[str, Any] = {"slope": 1 / 6, "offset": 0.5}
_PAIR = 2
_RANK = 4

Reader = Callable[[Graph, Operator], int]


def read_graph(data: bytes, model: Model) -> Graph:
    """Return the operations and the weights of a model.

    Raises:
        Malformed: the graph contradicts itself, or a weight cannot be read.
    """
    graph = Graph(data, model)
    for number in model.inputs:
        tensor = model.tensors[number]
        image = Operator(-1, "", (), (number,), None)
        graph.of_tensor[number] = graph.add("input", image, (), {"shape": tensor.shape})
    for operator in model.operators:
        _read(graph, operator)
    return graph


def _read(graph: Graph, operator: Operator) -> None:
    if operator.code == _DENSIFY:
        raise Malformed(
            "tflite/sparse",
            "a weight is stored sparse, with its zeros left out",
            found=graph.name_of(operator),
            hint="Convert the model again without tf.lite.Optimize.EXPERIMENTAL_SPARSITY.",
        )
    computed = [number for number in operator.inputs if number in graph.of_tensor]
    if operator.code in _PASSING and len(operator.inputs) == 1 and len(operator.outputs) == 1:
        (source,), (target,) = operator.inputs, operator.outputs
        if computed:
            graph.of_tensor[target] = graph.of_tensor[source]
        elif source in graph.constants:
            graph.constants[target] = graph.constants[source]
        return
    if not computed:
        return
    reader = READERS.get(operator.code, _other)
    output = reader(graph, operator)
    for number in operator.outputs:
        graph.of_tensor[number] = output


def _options(graph: Graph, operator: Operator) -> Table:
    if operator.options is None:
        raise Malformed("tflite/options", "an operator lacks its options", found=graph.name_of(operator))
    return operator.options


def _activated(graph: Graph, operator: Operator, output: int, field: int) -> int:
    """Append the activation that is fused into an operator."""
    fused = 0 if operator.options is None else operator.options.number(field, "b")
    if fused == 0:
        return output
    kind, attributes = _FUSED.get(fused, ("other", {"class_name": f"fused activation {fused}"}))
    return graph.add(kind, operator, (output,), attributes)


def _conv(graph: Graph, operator: Operator) -> int:
    options, shape = _options(graph, operator), _weight_shape(graph, operator, _RANK)
    out, height, width, channels = shape
    given = graph.tensor(operator.inputs[0]).shape
    groups = given[-1] // channels if len(given) == _RANK and channels else 1
    attributes = {
        "kernel": (height, width),
        **_window_moves(options, 0, 4),
        "groups": groups,
        "use_bias": graph.is_there(operator, 2),
    }
    variables = _variables(graph, operator, "conv", (height, width, channels, out), out)
    return _activated(
        graph, operator, graph.add("conv", operator, (graph.takes(operator, 0),), attributes, variables), 3
    )


def _depthwise(graph: Graph, operator: Operator) -> int:
    options, (one, height, width, channels) = _options(graph, operator), _weight_shape(graph, operator, _RANK)
    given = graph.tensor(operator.inputs[0]).shape
    inputs = given[-1] if len(given) == _RANK else channels
    if one != 1 or inputs < 1 or channels % inputs:
        raise Malformed(
            "tflite/depthwise", "a depthwise kernel does not fit its input", found=graph.name_of(operator)
        )
    attributes = {
        "kernel": (height, width),
        **_window_moves(options, 0, 5),
        "groups": 1,
        "use_bias": graph.is_there(operator, 2),
    }
    shape = (height, width, inputs, channels // inputs)
    variables = _variables(graph, operator, "depthwise", shape, channels)
    output = graph.add("depthwise_conv", operator, (graph.takes(operator, 0),), attributes, variables)
    return _activated(graph, operator, output, 4)


def _dense(graph: Graph, operator: Operator) -> int:
    if not graph.is_computed(operator, 0) or graph.is_computed(operator, 1):
        return _other(graph, operator)
    if _options(graph, operator).number(1, "b"):
        raise Malformed(
            "tflite/weights-format", "shuffled weights are not read", found=graph.name_of(operator)
        )
    if graph.is_computed(operator, 2):
        return _with_computed_bias(graph, operator)
    out, inputs = _weight_shape(graph, operator, 2)
    attributes = {"use_bias": graph.is_there(operator, 2)}
    variables = _variables(graph, operator, "dense", (inputs, out), out)
    taken = _flat(graph, operator, inputs)
    return _activated(graph, operator, graph.add("dense", operator, (taken,), attributes, variables), 0)


def _with_computed_bias(graph: Graph, operator: Operator) -> int:
    """Read a sum that the converter made the bias of a dense layer as the sum that it was."""
    plain = operator._replace(inputs=operator.inputs[:2])
    out, inputs = _weight_shape(graph, plain, 2)
    kernel = {"kernel": graph.weight(plain, 1, "dense", (inputs, out))}
    product = graph.add("dense", plain, (_flat(graph, plain, inputs),), {"use_bias": False}, kernel)
    both = product, graph.takes(operator, 2)
    return _activated(graph, operator, graph.add("add", operator, both, {}), 0)


def _flat(graph: Graph, operator: Operator, inputs: int) -> int:
    """Return what a dense layer takes: a map is flattened if the layer takes all of it and keeps no axes."""
    number = graph.takes(operator, 0)
    shape = graph.shapes[number]
    keeps = bool(operator.outputs) and len(graph.tensor(operator.outputs[0]).shape) == _RANK
    if len(shape) != _RANK or keeps or math.prod(shape[1:]) != inputs:
        return number
    return graph.add("flatten", operator, (number,), {})


def _weight_shape(graph: Graph, operator: Operator, rank: int) -> tuple[int, ...]:
    shape = graph.tensor(operator.inputs[1]).shape if graph.is_there(operator, 1) else ()
    if len(shape) != rank:
        raise Malformed(
            "tflite/kernel",
            "a kernel has the wrong number of axes",
            expected=rank,
            found=graph.name_of(operator),
        )
    return shape


def _variables(
    graph: Graph, operator: Operator, layout: str, shape: tuple[int, ...], out: int
) -> dict[str, str]:
    found = {"kernel": graph.weight(operator, 1, layout, shape)}
    if graph.is_there(operator, 2):
        found["bias"] = graph.weight(operator, 2, "", (out,))
        if graph.tensor(operator.inputs[2]).shape != (out,):
            raise Malformed(
                "tflite/bias", "a bias has the wrong length", expected=out, found=graph.name_of(operator)
            )
    return found


def _window_moves(options: Table, padding: int, dilation: int) -> dict[str, Any]:
    strides = options.number(2, "i"), options.number(1, "i")
    dilations = options.number(dilation + 1, "i", 1), options.number(dilation, "i", 1)
    if min(*strides, *dilations) < 1:
        raise Malformed("tflite/strides", "a window does not move", found=strides)
    return {"strides": strides, "padding": _padding(options, padding), "dilation": dilations}


def _padding(options: Table, field: int) -> str:
    found = options.number(field, "b")
    if found not in (0, 1):
        raise Malformed("tflite/padding", "a kind of padding does not exist", found=found)
    return "valid" if found else "same"


def _pool(kind: str) -> Reader:
    def read(graph: Graph, operator: Operator) -> int:
        options = _options(graph, operator)
        size, strides = ((options.number(h, "i"), options.number(w, "i")) for h, w in ((4, 3), (2, 1)))
        if min(*size, *strides) < 1:
            raise Malformed("tflite/strides", "a window does not move", found=strides)
        attributes = {"size": size, "strides": strides, "padding": _padding(options, 0)}
        return _activated(
            graph, operator, graph.add(kind, operator, (graph.takes(operator, 0),), attributes), 5
        )

    return read


def _pad(graph: Graph, operator: Operator) -> int:
    amounts = graph.values(operator, 1).tolist()
    if len(amounts) != _RANK or any(len(pair) != _PAIR for pair in amounts) or any(amounts[0] + amounts[3]):
        return _other(graph, operator)
    value = float(graph.numbers(operator, 2).ravel()[0]) if graph.is_there(operator, 2) else 0.0
    attributes = {"amounts": tuple(map(tuple, amounts[1:3])), "mode": "constant", "value": value}
    return graph.add("pad", operator, (graph.takes(operator, 0),), attributes)


def _arithmetic(kind: str) -> Reader:
    def read(graph: Graph, operator: Operator) -> int:
        both = graph.is_computed(operator, 0), graph.is_computed(operator, 1)
        if all(both):
            output = graph.add(kind, operator, (graph.takes(operator, 0), graph.takes(operator, 1)), {})
        elif len(operator.inputs) == _PAIR and (both[0] or kind != "divide"):
            found = with_constant(graph, operator, kind, computed=0 if both[0] else 1)
            output = _other(graph, operator) if found is None else found
        else:
            return _other(graph, operator)
        return _activated(graph, operator, output, 0)

    return read


def _unary(kind: str, attributes: Mapping[str, Any]) -> Reader:
    def read(graph: Graph, operator: Operator) -> int:
        return graph.add(kind, operator, (graph.takes(operator, 0),), attributes)

    return read


def _leaky(graph: Graph, operator: Operator) -> int:
    slope = _options(graph, operator).number(0, "f")
    return graph.add("relu", operator, (graph.takes(operator, 0),), {**_RELU, "negative_slope": slope})


def _prelu(graph: Graph, operator: Operator) -> int:
    channels = graph.shapes[graph.takes(operator, 0)][-1:]
    shape = graph.tensor(operator.inputs[1]).shape if graph.is_there(operator, 1) else ()
    if not channels or shape[-1:] != channels or math.prod(shape) != channels[0]:
        return _other(graph, operator)  # a slope for each pixel
    alpha = {"alpha": graph.weight(operator, 1, "", channels)}
    return graph.add("prelu", operator, (graph.takes(operator, 0),), {}, alpha)


def _gelu(graph: Graph, operator: Operator) -> int:
    approximate = bool(operator.options and operator.options.number(0, "?"))
    return graph.add("gelu", operator, (graph.takes(operator, 0),), {"approximate": approximate})


def _concat(graph: Graph, operator: Operator) -> int:
    if not all(number in graph.of_tensor for number in operator.inputs):
        return _other(graph, operator)
    inputs = tuple(graph.of_tensor[number] for number in operator.inputs)
    axis = _options(graph, operator).number(0, "i")
    output = graph.add("concat", operator, inputs, {"axis": -1 if axis == _RANK - 1 else axis})
    return _activated(graph, operator, output, 1)


def _reshape(graph: Graph, operator: Operator) -> int:
    shape = graph.model.tensors[operator.outputs[0]].shape if operator.outputs else ()
    on_map = _dense_on_map(graph, operator, shape)
    if on_map is not None:
        return on_map
    return graph.add("reshape", operator, (graph.takes(operator, 0),), {"shape": shape})


def _dense_on_map(graph: Graph, operator: Operator, shape: tuple[int, ...]) -> int | None:
    """Read a dense layer between two reshapes, over the channels of a map, as one on the map."""
    dense = graph.operations[graph.takes(operator, 0)]
    if dense.kind != "dense" or "bias" in dense.variables or len(shape) != _RANK:
        return None
    flat = graph.operations[dense.inputs[0]]
    inputs, out = graph.weights[dense.variables["kernel"]].shape
    if flat.kind != "reshape" or (*shape[:-1], inputs) != graph.shapes[flat.inputs[0]] or shape[-1] != out:
        return None  # pixels in other places are another map
    return graph.add("dense", operator, flat.inputs, dense.attributes, dense.variables)


def _named(name: str) -> Reader:
    """Read an operator of computed inputs alone as the operation of a TensorFlow graph that it was."""

    def read(graph: Graph, operator: Operator) -> int:
        inputs = tuple(graph.takes(operator, place) for place in range(len(operator.inputs)))
        return graph.add("other", operator, inputs, {"class_name": name, "takes": "i" * len(inputs)})

    return read


def _other(graph: Graph, operator: Operator) -> int:
    inputs = tuple(graph.of_tensor[number] for number in operator.inputs if number in graph.of_tensor)
    name = operator.custom or f"operator {operator.code}"
    return graph.add("other", operator, inputs, {"class_name": name})


_DENSIFY = 124
_PASSING = (6, 114)  # DEQUANTIZE, QUANTIZE: the numbers stay what they are, up to rounding
_FUSED: Mapping[int, tuple[str, Mapping[str, Any]]] = {
    1: ("relu", _RELU),
    3: ("relu", {**_RELU, "max_value": 6.0}),
    4: ("tanh", {}),
}
READERS: Mapping[int, Reader] = {
    **IMAGE_READERS,
    0: _arithmetic("add"),
    1: _pool("avg_pool"),
    2: _concat,
    3: _conv,
    4: _depthwise,
    9: _dense,
    11: unit_norm,
    14: _unary("sigmoid", {}),
    17: _pool("max_pool"),
    18: _arithmetic("multiply"),
    19: _unary("relu", _RELU),
    21: _unary("relu", {**_RELU, "max_value": 6.0}),
    22: _reshape,
    25: _unary("softmax", {}),
    28: _unary("tanh", {}),
    34: _pad,
    40: mean,
    41: _arithmetic("subtract"),
    42: _arithmetic("divide"),
    43: _reshape,
    54: _prelu,
    55: limit("Maximum"),
    57: limit("Minimum"),
    59: _named("Neg"),
    60: _pad,
    74: total,
    76: _named("Rsqrt"),
    82: maximum,
    92: _named("Square"),
    98: _leaky,
    99: _named("SquaredDifference"),
    111: _unary("elu", {"alpha": 1.0}),
    117: _unary("hard_swish", _HARD),
    150: _gelu,
}
"""How each operator is read, by its code; any other is kept by name."""
