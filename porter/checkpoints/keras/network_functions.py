"""Single functions as layers of a Keras model: TensorFlow's in tf_keras, Keras's operations in Keras 3."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from porter.checkpoints.keras.config import LayerConfig
from porter.checkpoints.keras.network_calls import Call, LayerOutput
from porter.checkpoints.keras.network_layers import ACTIVATIONS, Step, activation_step, relevant

_LAMBDAS = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer")
_ARITHMETIC = MappingProxyType(
    {
        "add": "add",
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
    named = {key: value for key, value in call.named.items() if key != "name" and value is not None}
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
    plain = {key: value for key, value in named.items() if not isinstance(value, LayerOutput)}
    own = {key: value for key, value in relevant(layer.values).items() if key != "function"}
    given = [item for item in call.arguments if not isinstance(item, LayerOutput)]
    return [Step("other", {"class_name": name, **own, **plain, "arguments": given})]


def _arithmetic(kind: str, call: Call, constants: Sequence[Any]) -> Step | None:
    """Return an operation of two tensors, or the scaling that one with a constant is."""
    tensors = len(call.sources)
    if tensors == 2 and not constants:
        return Step(kind, {})
    if tensors != 1 or len(constants) != 1 or type(constants[0]) not in (int, float):
        return None
    value = float(constants[0])
    is_first = not (call.arguments and isinstance(call.arguments[0], LayerOutput))
    match kind:
        case "add":
            scale, offset = 1.0, value
        case "multiply":
            scale, offset = value, 0.0
        case "subtract":
            scale, offset = (-1.0, value) if is_first else (1.0, -value)
        case _ if not is_first and value:
            scale, offset = 1.0 / value, 0.0
        case _:
            return None
    return Step("scale", {"scale": scale, "offset": offset})
