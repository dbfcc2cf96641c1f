"""Activations, and arithmetic with constants and weights: scalings, biases, and norms that are written out.

Source of the spellings: tf.nn.batch_normalization, keras.backend and Keras 3's TensorFlow backend.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from porter.checkpoints.tensorflow.graph_layers import Reader, read_other
from porter.checkpoints.tensorflow.graph_nodes import GraphNode
from porter.checkpoints.tensorflow.graph_values import Constant, Layers, Value, Weight, layer_name
from porter.core.checkpoint import Array
from porter.core.stored_network import Operation

_RELU: Mapping[str, object] = MappingProxyType({"max_value": None, "negative_slope": 0.0, "threshold": 0.0})
_ADDS = ("Add", "AddV2", "BiasAdd")
_KINDS = MappingProxyType(
    dict.fromkeys(_ADDS, "add") | {"Sub": "subtract", "Mul": "multiply", "RealDiv": "divide", "Div": "divide"}
)
_WITH_BIAS = ("conv", "depthwise_conv", "dense", "transposed_conv")
_CLOSE = 1e-5
_MOST_AXES = 8


def _plain(kind: str) -> Reader:
    def read(layers: Layers, node: GraphNode, values: Sequence[Value]) -> int:
        return layers.add(kind, layer_name(node.name), _numbers(values))

    return read


def _relu(layers: Layers, node: GraphNode, values: Sequence[Value]) -> int:
    slope = node.real("alpha", 0.2) if node.op == "LeakyRelu" else 0.0
    most = 6.0 if node.op == "Relu6" else None
    attributes = {**_RELU, "max_value": most, "negative_slope": slope}
    return layers.add("relu", layer_name(node.name), _numbers(values), attributes)


def _elu(layers: Layers, node: GraphNode, values: Sequence[Value]) -> int:
    return layers.add("elu", layer_name(node.name), _numbers(values), {"alpha": 1.0})


def _limited(layers: Layers, node: GraphNode, values: Sequence[Value]) -> int:
    """Read a cap: min(relu(x), 6) or max(min(x, 6), 0); max(min(a x + b, 1), 0) is a hard sigmoid."""
    limit = _scalar(values)
    inputs, name = _numbers(values), layer_name(node.name)
    if len(inputs) == 2:
        return layers.add(node.op.lower(), name, inputs)
    if limit is None or len(inputs) != 1:
        return read_other(layers, node, values)
    before = layers.operations[inputs[0]]
    if node.op == "Maximum" and limit == 0 and before.attributes.get("class_name") == "Minimum":
        cap, source = before.attributes["limit"], layers.operations[before.inputs[0]]
        if cap == 1 and source.kind == "scale":
            return layers.add("hard_sigmoid", name, source.inputs, _slope(source))
        return layers.add("relu", name, before.inputs, {**_RELU, "max_value": cap})
    if node.op == "Minimum" and before.kind == "relu" and dict(before.attributes) == dict(_RELU):
        return layers.add("relu", name, before.inputs, {**_RELU, "max_value": limit})
    return layers.add("other", name, inputs, {"class_name": node.op, "limit": limit})


def _slope(operation: Operation) -> dict[str, object]:
    return {"slope": operation.attributes["scale"], "offset": operation.attributes["offset"]}


def _binary(layers: Layers, node: GraphNode, values: Sequence[Value]) -> int:
    first, second = values[0], values[1]
    if isinstance(first, int) and isinstance(second, int):
        found = _gelu(layers, node, first, second) if node.op == "Mul" else None
        return found or layers.add(_KINDS[node.op], layer_name(node.name), [first, second])
    (number,) = _numbers(values)
    other = second if isinstance(first, int) else first
    found = None
    if isinstance(other, Constant):
        found = _with_constant(layers, node, number, other.value, is_first=not isinstance(first, int))
    elif isinstance(other, Weight):
        found = _with_weight(layers, node, number, other)
    return read_other(layers, node, values) if found is None else found


def _with_constant(
    layers: Layers, node: GraphNode, number: int, value: Array | None, *, is_first: bool
) -> int | None:
    """Return the scaling by a constant, joined with one in front of it."""
    if value is None or value.dtype.kind not in "fiu" or value.size > 4:
        return None
    constant = np.asarray([float(str(number)) for number in value.ravel()])  # 0.1, not 0.10000000149
    match _KINDS[node.op]:
        case "add":
            scale, offset = np.ones(1), constant
        case "subtract":
            scale, offset = (-np.ones(1), constant) if is_first else (np.ones(1), -constant)
        case "multiply":
            scale, offset = constant, np.zeros(1)
        case _ if not is_first and constant.all():
            scale, offset = 1 / constant, np.zeros(1)
        case _:
            return None
    return _scale(layers, layer_name(node.name), number, scale, offset)


def _scale(layers: Layers, name: str, number: int, scale: Array, offset: Array) -> int:
    before = layers.operations[number]
    if before.kind == "scale":
        first, added = (np.atleast_1d(before.attributes[key]) for key in ("scale", "offset"))  # type: ignore[call-overload]
        scale, offset, number = first * scale, added * scale + offset, before.inputs[0]
    if (scale == 1).all() and not offset.any():
        return number
    return layers.add("scale", name, [number], {"scale": _told(scale), "offset": _told(offset)})


def _told(values: Array) -> object:
    """Return numbers, of as many digits as arithmetic leaves; one number where all are equal."""
    told = [float(f"{value:.12g}") for value in values]
    return told[0] if len(set(told)) == 1 else told


def _with_weight(layers: Layers, node: GraphNode, number: int, weight: Weight) -> int | None:
    """Return what an operation with weights is: a bias, or a half or the whole of a written-out norm."""
    before = layers.operations[number]
    if node.op in _ADDS:
        if weight.key and before.kind in _WITH_BIAS and "bias" not in before.variables:
            variables = {**before.variables, "bias": weight.key}
            attributes = {**before.attributes, "use_bias": True}
            channels = layers.channels[number]
            return layers.add(before.kind, before.name, before.inputs, attributes, variables, channels)
        return _written_norm(layers, node, number, weight)
    if node.op == "Mul" and _inverse(weight) is not None:
        found = read_other(layers, node, [number, weight])
        layers.channels[found] = layers.channels[number]
        layers.scaled[found] = number, weight
        return found
    return None


def _written_norm(layers: Layers, node: GraphNode, number: int, weight: Weight) -> int | None:
    """Read x * s + (beta - mean * s), where s = gamma / sqrt(variance + epsilon)."""
    if number not in layers.scaled:
        return None
    source, scale = layers.scaled[number]
    inverse, shift = _inverse(scale), _shift(weight, scale)
    if inverse is None or shift is None:
        return None
    variables, epsilon = inverse
    name = layer_name(node.name)
    name = name.removesuffix("/batchnorm")
    attributes = {"epsilon": epsilon, "axes": (-1,)}
    return layers.add("norm", name, [source], attributes, {**variables, **shift})


def _inverse(scale: Weight) -> tuple[dict[str, str], float] | None:
    """Return the variables and the epsilon of gamma / sqrt(variance + epsilon); gamma may be missing."""
    if scale.op == "Rsqrt":
        return _deviation(scale)
    if scale.op != "Mul":
        return None
    for one, other in (scale.inputs, scale.inputs[::-1]):
        if isinstance(one, Weight) and isinstance(other, Weight) and one.op == "Rsqrt" and other.key:
            found = _deviation(one)
            return None if found is None else ({"gamma": other.key, **found[0]}, found[1])
    return None


def _deviation(root: Weight) -> tuple[dict[str, str], float] | None:
    total = root.inputs[0]
    if not isinstance(total, Weight) or total.op not in _ADDS:
        return None
    for variance, epsilon in (total.inputs, total.inputs[::-1]):
        value = _scalar([epsilon])
        if isinstance(variance, Weight) and variance.key and value is not None:
            return {"variance": variance.key}, value
    return None


def _shift(weight: Weight, scale: Weight) -> dict[str, str] | None:
    """Return the variables of beta - mean * scale; beta may be missing."""
    if weight.op == "Mul":
        return _mean(weight, scale, negated=True)
    if weight.op == "Neg" and isinstance(weight.inputs[0], Weight):
        return _mean(weight.inputs[0], scale, negated=False)
    if weight.op != "Sub":
        return None
    beta, product = weight.inputs
    if not isinstance(beta, Weight) or not beta.key or not isinstance(product, Weight):
        return None
    mean = _mean(product, scale, negated=False)
    return None if mean is None else {"beta": beta.key, **mean}


def _mean(product: Weight, scale: Weight, *, negated: bool) -> dict[str, str] | None:
    for mean, other in (product.inputs, product.inputs[::-1]) if product.op == "Mul" else ():
        if other is not scale or not isinstance(mean, Weight):
            continue
        plain = mean.inputs[0] if negated and mean.op == "Neg" else None if negated else mean
        return {"mean": plain.key} if isinstance(plain, Weight) and plain.key else None
    return None


def _gelu(layers: Layers, node: GraphNode, first: int, second: int) -> int | None:
    """Read 0.5 x (1 + erf(x / sqrt(2))), or 0.5 x erfc(-x / sqrt(2)), which is the same."""
    for half, other in ((first, second), (second, first)):
        outer, inner = layers.operations[half], layers.operations[other]
        if not _is_scale(outer, 0.5, 0.0):
            continue
        name, argument = "Erfc", inner
        if _is_scale(inner, 1.0, 1.0):
            name, argument = "Erf", layers.operations[inner.inputs[0]]
        if argument.attributes.get("class_name") != name:
            continue
        root = _root_of_curve(layers, argument, is_turned=name == "Erfc")
        if root is not None and root == outer.inputs[0]:
            return layers.add("gelu", layer_name(node.name), outer.inputs, {"approximate": False})
    return None


def _root_of_curve(layers: Layers, curve: Operation, *, is_turned: bool) -> int | None:
    """Return x of a function of x / sqrt(2), or of -x / sqrt(2)."""
    scaled = layers.operations[curve.inputs[0]]
    if not _is_scale(scaled, 1 / math.sqrt(2), 0.0):
        return None
    if not is_turned:
        return scaled.inputs[0]
    before = layers.operations[scaled.inputs[0]]
    return before.inputs[0] if before.attributes.get("class_name") == "Neg" else None


def _is_scale(operation: Operation, scale: float, offset: float) -> bool:
    if operation.kind != "scale":
        return False
    values = operation.attributes["scale"], operation.attributes["offset"]
    return all(
        isinstance(value, float) and math.isclose(value, wanted, rel_tol=_CLOSE, abs_tol=_CLOSE)
        for value, wanted in zip(values, (scale, offset), strict=True)
    )


def _scalar(values: Sequence[Value]) -> float | None:
    """Return the one constant among values, if it is one number."""
    found = [value.value for value in values if isinstance(value, Constant)]
    if len(found) != 1 or found[0] is None or found[0].size != 1 or found[0].dtype.kind not in "fiu":
        return None
    return float(str(found[0].ravel()[0]))


def _numbers(values: Sequence[Value]) -> list[int]:
    return [value for value in values if isinstance(value, int)]


ARITHMETIC: Mapping[str, Reader] = MappingProxyType(
    {
        **dict.fromkeys(("Relu", "Relu6", "LeakyRelu"), _relu),
        "Elu": _elu,
        **{
            name: _plain(name.lower())
            for name in ("Selu", "Sigmoid", "Softmax", "Softsign", "Tanh", "Softplus")
        },
        "Exp": _plain("exponential"),
        **dict.fromkeys(("Minimum", "Maximum"), _limited),
        **dict.fromkeys(_KINDS, _binary),
    }
)


def _concatenated(*values: Array) -> Array | None:
    """Return vectors behind one another; None if that is more than an order of axes or a shape needs."""
    *vectors, axis = values
    if any(each.ndim != 1 for each in vectors) or axis != 0 or sum(map(len, vectors)) > _MOST_AXES:
        return None
    return np.concatenate(vectors)


Folder = Callable[..., Array | None]
# What is worked out where every input is a constant.
FOLDED: Mapping[str, Folder] = MappingProxyType(
    {
        **dict.fromkeys(("Add", "AddV2"), np.add),
        "Sub": np.subtract,
        "Mul": np.multiply,
        "RealDiv": np.true_divide,
        "Maximum": np.maximum,
        "Sqrt": np.sqrt,
        "Neg": np.negative,
        "Rsqrt": lambda value: 1 / np.sqrt(value),
        "Pack": lambda *values: np.stack([np.asarray(value) for value in values]),
        "ConcatV2": _concatenated,
    }
)
