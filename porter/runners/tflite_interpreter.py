"""Runs a TensorFlow Lite model in its interpreter and holds every operator against TensorFlow's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from porter.checkpoints.tflite.graph import Graph
from porter.checkpoints.tflite.schema import Operator
from porter.checkpoints.tflite.tflite_model import weight_values
from porter.checkpoints.tflite.values import type_name
from porter.core.checkpoint import Array
from porter.errors import ParityError, printable

_V1 = tf.compat.v1
# Relative to the largest output of the operator, in float32: sums of up to 10,000 products.
_FLOAT = 1e-5
# Steps of an integer output: half a step is rounded, and kernels take up to one and a half more on the way.
_STEPS = 2.0
_LEVELS = 127.0
_INTEGERS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}


class Difference(NamedTuple):
    """How far one operator of the interpreter is from what it should compute.

    Attributes:
        name: The operator's output.
        found: The largest difference.
        allowed: What rounding alone explains there.
        kind: What is rounded: ``"float32"``, ``"steps"`` of an integer output, or ``"inputs"``.
    """

    name: str
    found: float
    allowed: float
    kind: str


def agreement(file: Path, data: bytes, graph: Graph, definition: Any) -> str:
    """Return, in words, how well the interpreter's operators agree with a graph.

    Args:
        file: The model.
        data: Its bytes.
        graph: Its operators.
        definition: The same as TensorFlow's graph, see `porter.runners.tflite_network.as_graph`.

    Raises:
        ParityError: an operator differs by more than rounding explains (``runner/interpreter``).
    """
    interpreter = tf.lite.Interpreter(
        model_path=str(file),
        num_threads=1,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    _feed(interpreter)
    interpreter.invoke()
    weights = {
        key: weight_values(data, graph.model.tensors[weight.tensor], weight)
        for key, weight in graph.weights.items()
    }
    differences = list(_differences(_Values(interpreter, graph), graph, definition, weights))
    for each in differences:
        if not each.found <= each.allowed:
            raise ParityError(
                "runner/interpreter",
                f"the file's interpreter computes something else at {printable(each.name)}",
                file=file,
                expected=f"at most {each.allowed:.1e}, which rounding explains",
                found=f"{each.found:.1e}",
            )
    return _told(differences)


def _told(differences: list[Difference]) -> str:
    parts = []
    for kind, words in (
        ("float32", "in float32"),
        ("steps", "with integers"),
        ("inputs", "with 8-bit inputs"),
    ):
        own = [each for each in differences if each.kind == kind]
        if own:
            worst = max(each.found / each.allowed for each in own)
            parts.append(f"{len(own)} operators {words} within {worst:.0%} of what rounding explains")
    return f"its interpreter agrees operator by operator: {', '.join(parts)}"


def _feed(interpreter: Any) -> None:
    (given,) = interpreter.get_input_details()
    images = np.random.default_rng(0).uniform(-1, 1, given["shape"]).astype(np.float32)
    if given["dtype"] != np.float32:
        low, high = _INTEGERS[np.dtype(given["dtype"]).name]
        images = np.random.default_rng(0).integers(low, high + 1, given["shape"]).astype(given["dtype"])
    interpreter.set_tensor(given["index"], images)


class _Values:
    """What the interpreter computed, as numbers."""

    def __init__(self, interpreter: Any, graph: Graph) -> None:
        self._interpreter, self._graph = interpreter, graph

    def __getitem__(self, number: int) -> Array:
        tensor = self._graph.model.tensors[number]
        stored = np.asarray(self._interpreter.get_tensor(number))
        if tensor.quantisation is None or stored.dtype.kind == "f":
            return stored.astype(np.float32)
        scale, zero_point = tensor.quantisation.scale[0], tensor.quantisation.zero_point[0]
        return np.asarray((stored.astype(np.float64) - zero_point) * np.float64(scale), np.float32)


def _differences(
    values: _Values, graph: Graph, definition: Any, weights: Mapping[str, Array]
) -> Iterator[Difference]:
    names = {node.name for node in definition.node}
    with tf.Graph().as_default() as own_graph:
        tf.import_graph_def(definition, name="")
    with _V1.Session(graph=own_graph) as session:
        for operator in graph.model.operators:
            made_here = graph.of_tensor.get(operator.outputs[0]) if operator.outputs else None
            taken = [n for n in operator.inputs if f"op{graph.of_tensor.get(n)}" in names]
            if not taken and made_here is not None:  # the last of several that are one operation here
                taken = list(_tensors_before(graph, made_here))
            fed = {f"op{graph.of_tensor[number]}:0": values[number] for number in taken}
            if made_here is None or f"op{made_here}" not in names or f"op{made_here}:0" in fed:
                continue
            wanted = session.run(f"op{made_here}:0", fed)
            yield _difference(values, graph, operator, wanted, weights)


def _tensors_before(graph: Graph, number: int) -> Iterator[int]:
    """Yield a tensor of each operation that an operation takes, through those that have no tensor."""
    tensors = {made: tensor for tensor, made in reversed(graph.of_tensor.items())}
    waiting = list(graph.operations[number].inputs)
    while waiting:
        taken = waiting.pop()
        if taken in tensors:
            yield tensors[taken]
        else:
            waiting.extend(graph.operations[taken].inputs)


def _difference(
    values: _Values, graph: Graph, operator: Operator, wanted: Array, weights: Mapping[str, Array]
) -> Difference:
    number = operator.outputs[0]
    tensor, given = graph.model.tensors[number], values[number].reshape(wanted.shape)
    if tensor.quantisation is not None and (limits := _INTEGERS.get(type_name(tensor))):
        scale, zero_point = float(tensor.quantisation.scale[0]), float(tensor.quantisation.zero_point[0])
        low, high = ((limit - zero_point) * scale for limit in limits)
        found = np.abs(np.clip(wanted, low, high) - given).max(initial=0)
        return Difference(tensor.name, float(found), _STEPS * scale, "steps")
    found = float(np.abs(wanted - given).max(initial=0))
    noise = _FLOAT * float(np.abs(wanted).max(initial=0)) + 1e-30
    sums = _quantised_sums(graph, operator, weights)
    if sums is None:
        return Difference(tensor.name, found, noise, "float32")
    step = float(np.abs(values[operator.inputs[0]]).max(initial=0)) / _LEVELS
    return Difference(tensor.name, found, noise + step * sums, "inputs")


def _quantised_sums(graph: Graph, operator: Operator, weights: Mapping[str, Array]) -> float | None:
    """Return the largest sum of a kernel's magnitudes if the interpreter rounds what it multiplies."""
    number = graph.of_tensor[operator.outputs[0]]
    while not graph.operations[number].variables:
        if len(graph.operations[number].inputs) != 1 or graph.operations[number].kind == "input":
            return None
        if graph.operations[number].name != graph.name_of(operator):
            return None
        number = graph.operations[number].inputs[0]
    key = graph.operations[number].variables.get("kernel")
    if key is None or type_name(graph.model.tensors[graph.weights[key].tensor]) not in _INTEGERS:
        return None
    kernel = np.abs(weights[key])
    axes = (0, 1) if graph.weights[key].layout == "depthwise" else tuple(range(kernel.ndim - 1))
    return float(kernel.sum(axes).max())
