"""What the nodes of a graph compute that have weights, or move pixels, as `Operation`s of a stored network.

Source of inputs and attributes: tensorflow/core/ops/{nn,math,array,image}_ops.cc.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from porter.checkpoints.tensorflow.graph_nodes import GraphNode
from porter.checkpoints.tensorflow.graph_values import Constant, Layers, Value, Weight, layer_name

Reader = Callable[[Layers, GraphNode, Sequence[Value]], int]
_PIXELS = ((1, 2), (-3, -2))
_SMALL = 64
_COMMUTATIVE = ("Add", "AddV2", "Mul", "Maximum", "Minimum", "SquaredDifference")
_MOST_SPELT = 100
_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


def read_other(layers: Layers, node: GraphNode, values: Sequence[Value]) -> int:
    """Add an operation of a kind that has no name here, with all that tells what it computes.

    Beside the node's attributes these are ``takes`` (i, w or c for each input: of images, of weights,
    constant), ``constants`` (the small ones) and ``weights`` (what is computed of the variables, spelt out).
    """
    inputs = [value for value in values if isinstance(value, int)]
    keys = list(dict.fromkeys(k for value in values if isinstance(value, Weight) for k in value.variables))
    attributes: dict[str, object] = {"class_name": node.op, **node.plain()}
    takes = "".join(_letter(value) for value in values)
    attributes["takes"] = "".join(sorted(takes)) if node.op in _COMMUTATIVE else takes
    constants = [small(value) for value in values if isinstance(value, Constant)]
    if any(constants):
        attributes["constants"] = constants
    computed = [spelt(value) for value in values if isinstance(value, Weight) and value.op]
    if computed:
        attributes["weights"] = computed
    return layers.add("other", layer_name(node.name), inputs, attributes, _roles(keys))


def _letter(value: Value) -> str:
    return "i" if isinstance(value, int) else "w" if isinstance(value, Weight) else "c"


def spelt(weight: Weight) -> str:
    """Return what is computed of variables, as far as 100 operations: ``"Mul(v,Rsqrt(v))"``."""
    left = [_MOST_SPELT]

    def told(value: Value) -> str:
        left[0] -= 1
        if left[0] < 0:
            return "..."
        if isinstance(value, Weight):
            inner = ",".join(told(each) for each in value.inputs)
            return f"{value.op}({inner})" if value.op else "v"
        listed = small(value)
        return "c" if listed is None else ",".join(map(str, listed))

    return told(weight)


def _roles(keys: Sequence[str]) -> dict[str, str]:
    """Return keys by the last word of each that tells something; a number tells equal ones apart."""
    found: dict[str, str] = {}
    for key in keys:
        role = key.removesuffix(_SUFFIX).rpartition("/")[2]
        found[role if role not in found else f"{len(found)}_{role}"] = key
    return found


def small(value: Value) -> list[Any] | None:
    """Return a constant of a few numbers as a list of them (nested like it), or None."""
    if not isinstance(value, Constant) or value.value is None or value.value.size > _SMALL:
        return None
    found: list[Any] = np.atleast_1d(value.value).tolist()
    return found


def _per_axis(node: GraphNode, name: str, default: tuple[int, int] = (1, 1)) -> tuple[int, int]:
    """Return the values for height and width of an attribute with one for each of four axes."""
    values = node.integers(name)
    if len(values) != 4:
        return default
    first = 2 if _is_first(node) else 1
    return values[first], values[first + 1]


def _is_first(node: GraphNode) -> bool:
    return node.text("data_format", "NHWC") == "NCHW"


def _order(node: GraphNode) -> dict[str, object]:
    return {"data_format": "channels_first"} if _is_first(node) else {}


def _padding(node: GraphNode) -> object:
    told = node.text("padding", "VALID")
    if told != "EXPLICIT":
        return told.lower()
    amounts = node.integers("explicit_paddings")
    if len(amounts) != 8:
        return "explicit"
    first = 4 if _is_first(node) else 2
    return (amounts[first : first + 2], amounts[first + 2 : first + 4])


def _kernel(layers: Layers, value: Value, axes: int) -> tuple[str, tuple[int, ...]] | None:
    """Return key and shape of a kernel that is one variable of so many axes."""
    if not isinstance(value, Weight) or not value.key:
        return None
    shape = layers.shape_of(value.key)
    return None if shape is None or len(shape) != axes else (value.key, shape)


def _conv(layers: Layers, node: GraphNode, values: Sequence[Value]) -> int:
    kernel = _kernel(layers, values[1], 4)
    if kernel is None or not isinstance(values[0], int):
        return read_other(layers, node, values)
    key, shape = kernel
    is_depthwise = node.op == "DepthwiseConv2dNative"
    before = layers.channels[values[0]]
    groups = 1 if is_depthwise or not before or not shape[2] else max(before // shape[2], 1)
    attributes = {
        "kernel": (shape[0], shape[1]),
        "strides": _per_axis(node, "strides"),
        "padding": _padding(node),
        "dilation": _per_axis(node, "dilations"),
        "groups": groups,
        "use_bias": False,
        **_order(node),
    }
    channels = shape[2] * shape[3] if is_depthwise else shape[3]
    kind = "depthwise_conv" if is_depthwise else "conv"
    return layers.add(kind, layer_name(node.name), values[:1], attributes, {"kernel": key}, channels)  # type: ignore[arg-type]


def _dense(layers: Layers, node: GraphNode, values: Sequence[Value]) -> int:
    if isinstance(values[0], int) and isinstance(values[1], int):
        return layers.add("matmul", layer_name(node.name), [values[0], values[1]])
    kernel = _kernel(layers, values[1], 2) or _kernel(layers, values[1], 4)
    is_turned = any(node.flag(name) for name in ("transpose_a", "transpose_b", "adj_x", "adj_y"))
    if kernel is None or is_turned or not isinstance(values[0], int):
        return read_other(layers, node, values)
    key, shape = kernel
    return layers.add(
        "dense", layer_name(node.name), [values[0]], {"use_bias": False}, {"kernel": key}, shape[-1]
    )


def _norm(layers: Layers, node: GraphNode, values: Sequence[Value]) -> int:
    """Read a fused batch norm in inference; gamma or beta that are constants are no variables."""
    if not isinstance(values[0], int) or node.flag("is_training", default=True):
        return read_other(layers, node, values)
    roles = zip(("gamma", "beta", "mean", "variance"), values[1:], strict=False)
    keys = {role: value.key for role, value in roles if isinstance(value, Weight)}
    if not all(keys.values()):
        return read_other(layers, node, values)
    attributes = {"epsilon": node.real("epsilon", 1e-4), "axes": (1,) if _is_first(node) else (-1,)}
    return layers.add("norm", layer_name(node.name), values[:1], attributes, keys)  # type: ignore[arg-type]


def _pool(layers: Layers, node: GraphNode, values: Sequence[Value]) -> int:
    attributes = {
        "size": _per_axis(node, "ksize"),
        "strides": _per_axis(node, "strides"),
        "padding": _padding(node),
        **_order(node),
    }
    kind = "max_pool" if node.op == "MaxPool" else "avg_pool"
    return layers.add(kind, layer_name(node.name), _numbers(values), attributes)


def _reduced(layers: Layers, node: GraphNode, values: Sequence[Value]) -> int:
    axes = small(values[1])
    if axes is None or tuple(sorted(axes)) not in _PIXELS:
        found = read_other(layers, node, values)
        known = {**layers.operations[found].attributes, "axes": axes}
        layers.operations[found] = layers.operations[found]._replace(attributes=known)
        return found
    kind = "global_avg_pool" if node.op == "Mean" else "global_max_pool"
    return layers.add(kind, layer_name(node.name), _numbers(values))


def _pad(layers: Layers, node: GraphNode, values: Sequence[Value]) -> int:
    amounts = small(values[1])
    value = small(values[2]) if len(values) > 2 else [0.0]
    rows = np.asarray(amounts) if amounts is not None else None
    if rows is None or rows.shape != (4, 2) or rows[[0, 3]].any() or value is None:
        return read_other(layers, node, values)
    pairs = tuple((int(before), int(after)) for before, after in rows[1:3])
    mode = node.text("mode").lower() if node.op == "MirrorPad" else "constant"
    attributes = {"amounts": pairs, "mode": mode, "value": float(value[0])}
    return layers.add("pad", layer_name(node.name), _numbers(values), attributes)


def _concat(layers: Layers, node: GraphNode, values: Sequence[Value]) -> int:
    axis = small(values[-1])
    inputs = _numbers(values)
    if axis is None or len(inputs) != len(values) - 1:
        return read_other(layers, node, values)
    channels = [layers.channels[number] for number in inputs]
    total = None if None in channels else sum(filter(None, channels))
    number = -1 if axis[0] == 3 else axis[0]
    return layers.add("concat", layer_name(node.name), inputs, {"axis": number}, channels=total)


def _reshape(layers: Layers, node: GraphNode, values: Sequence[Value]) -> int:
    shape = small(values[1]) if node.op == "Reshape" else None
    if shape is not None and len(shape) == 2 and shape[0] in (-1, 1):
        return layers.add("flatten", layer_name(node.name), _numbers(values))
    behind = values[1].behind_batch if node.op == "Reshape" and isinstance(values[1], Constant) else None
    attributes = {"shape": behind if shape is None else tuple(shape[1:])}
    on_map = _dense_on_map(layers, _numbers(values)[0], attributes["shape"])
    if on_map is not None:
        return on_map
    channels = layers.channels[_numbers(values)[0]] if node.op in ("Squeeze", "ExpandDims") else None
    return layers.add("reshape", layer_name(node.name), _numbers(values)[:1], attributes, channels=channels)


_FLATTENING = ("reshape", "flatten")  # a map of one pixel is flattened


def _dense_on_map(layers: Layers, number: int, shape: tuple[int, ...] | None) -> int | None:
    """Read a dense layer between two reshapes (`tf.tensordot` over the channels) as one on the map.

    Args:
        layers: What was read.
        number: What the second reshape takes.
        shape: To what, behind the images; None if it is computed.
    """
    dense = layers.operations[number]
    if dense.kind != "dense" or "bias" in dense.variables:
        return None
    flat = layers.operations[dense.inputs[0]]
    kernel = layers.shape_of(dense.variables["kernel"])
    if flat.kind not in _FLATTENING or kernel is None or layers.channels[flat.inputs[0]] != kernel[0]:
        return None
    if flat.attributes.get("shape") not in (None, kernel[:1]) or (shape and shape[-1] != kernel[-1]):
        return None
    attributes = {**dense.attributes, "shape": shape}
    return layers.add(dense.kind, dense.name, flat.inputs, attributes, dense.variables, kernel[-1])


def _transposed(layers: Layers, node: GraphNode, values: Sequence[Value]) -> int:
    """Leave out an order of axes that is the one that was there."""
    taken, order = values[0], small(values[1])
    is_kept = isinstance(taken, int) and order == list(range(len(order or ())))
    return taken if is_kept else read_other(layers, node, values)  # type: ignore[return-value]


def _resize(layers: Layers, node: GraphNode, values: Sequence[Value]) -> int:
    size = small(values[1])
    attributes = {
        "size": None if size is None else tuple(size),
        "interpolation": "bilinear" if node.op == "ResizeBilinear" else node.op.removeprefix("Resize"),
    }
    return layers.add("resize", layer_name(node.name), _numbers(values)[:1], attributes)


def _numbers(values: Sequence[Value]) -> list[int]:
    return [value for value in values if isinstance(value, int)]


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "Conv2D": _conv,
        "DepthwiseConv2dNative": _conv,
        "MatMul": _dense,
        "BatchMatMulV2": _dense,
        **dict.fromkeys(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"), _norm),
        **dict.fromkeys(("MaxPool", "AvgPool"), _pool),
        **dict.fromkeys(("Mean", "Max"), _reduced),
        **dict.fromkeys(("Pad", "PadV2", "MirrorPad"), _pad),
        "ConcatV2": _concat,
        **dict.fromkeys(("Reshape", "Squeeze", "ExpandDims"), _reshape),
        "Transpose": _transposed,
        **dict.fromkeys(("ResizeBilinear", "ResizeNearestNeighbor"), _resize),
    }
)
