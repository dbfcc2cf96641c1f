"""Single functions as layers of a Keras model: TensorFlow's in tf_keras, Keras's operations in Keras 3."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from porter.checkpoints.keras.config import LayerConfig
from porter.checkpoints.keras.network_calls import Call, LayerOutput
from porter.checkpoints.keras.network_layers import ACTIVATIONS, SHORTEST, Step, activation_step, relevant

_LAMBDAS = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer")
_ARITHMETIC = MappingProxyType(
    {
        "add": "add",
        "bias_add": "add",
        "mul": "multiply",
        "multiply": "multiply",
        "sub": "subtract",
        "subtract": "subtract",
        "truediv": "divide",
        "true_divide": "divide",
        "divide": "divide",
    }
)
_NOTHING = ("identity", "cast", "stop_gradient")
_MEANS = ("reduce_mean", "mean")
_PIXELS = [1, 2]
_USUAL = MappingProxyType({"data_format": "NHWC"})
_MOST_CHANNELS = 64


def function_name(layer: LayerConfig) -> str:
    """Return the function that a layer stands for, in lower case with underscores; "" if it is a layer."""
    if layer.class_name in _LAMBDAS:
        return str(layer.values.get("function", "")).rpartition(".")[2]
    if not set(layer.values) <= {"name", "axis", "keepdims"}:  # every layer says at least whether it trains
        return ""
    words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in layer.class_name)
    return words.lstrip("_")


def function_steps(layer: LayerConfig, name: str, call: Call) -> list[Step]:
    """Return what one call of a function computes; none where it passes its input on."""
    constants = [item for item in call.arguments if not isinstance(item, LayerOutput)]
    named = {
        key: value
        for key, value in call.named.items()
        if key != "name" and value is not None and _USUAL.get(key) != value
    }
    constants += [value for value in named.values() if not isinstance(value, LayerOutput)]
    if name in _ARITHMETIC:
        found = _arithmetic(_ARITHMETIC[name], call, constants)
        if found is not None:
            return [found]
    if name in _NOTHING:
        return []
    if name in ACTIVATIONS and not constants:
        return activation_step(name, is_keras_3=True)
    axes = named.get("axis", layer.values.get("axis"))
    if name in _MEANS and axes == _PIXELS:
        return [Step("global_avg_pool", {})]
    if name == "l2_normalize" and set(named) <= {"axis"}:
        return [Step("unit_norm", {"axes": (axes,), "shortest": SHORTEST})]
    plain = {key: value for key, value in named.items() if not isinstance(value, LayerOutput)}
    own = {key: value for key, value in relevant(layer.values).items() if key != "function"}
    given = [item for item in call.arguments if not isinstance(item, LayerOutput)]
    return [Step("other", {"class_name": name, **own, **plain, "arguments": given})]


def _arithmetic(kind: str, call: Call, constants: Sequence[Any]) -> Step | None:
    """Return an operation of two tensors, or the scaling that one with a constant is."""
    tensors = len(call.sources)
    if tensors == 2 and not constants:
        return Step(kind, {})
    values = plain_numbers(constants[0]) if tensors == 1 and len(constants) == 1 else []
    if not values:
        return None
    is_first = not (call.arguments and isinstance(call.arguments[0], LayerOutput))
    scales, offsets = [1.0], [0.0]
    match kind:
        case "add":
            offsets = values
        case "multiply":
            scales = values
        case "subtract" if is_first:
            scales, offsets = [-1.0], values
        case "subtract":
            offsets = [-value for value in values]
        case _ if not is_first and all(values):
            scales = [1.0 / value for value in values]
        case _:
            return None
    return Step("scale", {"scale": _single(scales), "offset": _single(offsets)})


def plain_numbers(value: Any) -> list[float]:
    """Return a number, or one for each channel (a nested list of one list too); nothing for anything else."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    listed = value if isinstance(value, list) else [value]
    is_plain = all(type(item) in (int, float) and math.isfinite(item) for item in listed)
    return list(map(float, listed)) if is_plain and 0 < len(listed) <= _MOST_CHANNELS else []


def _single(values: list[float]) -> float | list[float]:
    return values[0] if len(values) == 1 else values
