"""What TensorFlow's object graph calls the variables of a Keras layer, by the layer's class.

Source: the `build` methods of the layers in tf_keras 2.20 and Keras 3.15; for old names, Keras 1.2 and 2.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

_STATISTICS = ("moving_mean", "moving_variance")
_DEPTHWISE = ("depthwise_kernel", "bias")

# Class to the names of its variables in the order in which Keras lists them: trainable ones first.
_VARIABLES = MappingProxyType(
    {
        "DepthwiseConv1D": _DEPTHWISE,
        "DepthwiseConv2D": _DEPTHWISE,
        "SeparableConv1D": ("depthwise_kernel", "pointwise_kernel", "bias"),
        "SeparableConv2D": ("depthwise_kernel", "pointwise_kernel", "bias"),
        "Normalization": ("mean", "variance", "count"),
        "Embedding": ("embeddings",),
        "PReLU": ("alpha",),
        "LayerScale": ("gamma",),  # keras.applications.convnext
    }
    | dict.fromkeys(
        ("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "Conv3DTranspose", "Dense", "EinsumDense"),
        ("kernel", "bias"),
    )
)
_AFFINE = ("LayerNormalization", "GroupNormalization")
_BATCH_NORM = ("BatchNormalization", "SyncBatchNormalization", "BatchNormalizationV1", "BatchNormalizationV2")

# Keras 1 joined layer and variable with an underscore; its "running_std" holds the variance.
_KERAS_1 = MappingProxyType(
    {
        "W": "kernel",
        "b": "bias",
        "gamma": "gamma",
        "beta": "beta",
        "running_mean": "moving_mean",
        "running_std": "moving_variance",
    }
)
# Model Garden's layer scale gives its variable no name, so Keras calls it "Variable".
_ALIASES = MappingProxyType({"Variable": ("Variable", "_gamma")})

_KERNEL, _EITHER, _BIAS = ("kernel",), ("kernel", "depthwise_kernel"), ("bias",)
# Names for a layer of unknown class, by the ranks of its variables; several if each is possible.
_BY_RANKS: Mapping[tuple[int, ...], Sequence[tuple[str, ...]]] = MappingProxyType(
    {
        (2,): [_KERNEL],
        (3,): [_KERNEL],
        (4,): [_EITHER],
        (2, 1): [_KERNEL, _BIAS],
        (3, 1): [_KERNEL, _BIAS],
        (4, 1): [_EITHER, _BIAS],
        (4, 4): [("depthwise_kernel",), ("pointwise_kernel",)],
        (4, 4, 1): [("depthwise_kernel",), ("pointwise_kernel",), _BIAS],
        (1,): [("_gamma", "gamma", "alpha")],  # Model Garden's layer scale, ConvNeXt's, PReLU
        (1, 1): [("gamma",), ("beta",)],
        # Model Garden's MultiQueryAttentionLayerV1 and V2, in the order of `build`.
        (3, 2, 2, 3): [("query",), ("key",), ("value",), ("output",)],
    }
)


def snake_case(name: str) -> str:
    """Return the name of a class as Keras writes it into a ``.weights.h5`` (its to_snake_case)."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


_SNAKE = MappingProxyType({snake_case(name): name for name in (*_VARIABLES, *_AFFINE, *_BATCH_NORM)})


def class_of_snake_case(name: str) -> str | None:
    """Return the known class whose snake-case name is `name` but for a running number, or None."""
    return _SNAKE.get(name) or _SNAKE.get(re.sub(r"_\d+$", "", name))


def leaf_names(class_name: str | None, stored: str, rank: int) -> tuple[str, ...]:
    """Return what TensorFlow calls the variable that a legacy ``.h5`` calls `stored`.

    Args:
        class_name: The layer's class if the file tells it.
        stored: The last part of the stored name, e.g. ``"kernel:0"`` or Keras 1's ``"conv_1_W"``.
        rank: Number of axes of the variable.
    """
    leaf = re.sub(r":\d+$", "", stored)
    if class_name in ("DepthwiseConv1D", "DepthwiseConv2D") and leaf == "kernel":
        return ("depthwise_kernel",)
    if class_name == "LayerScale":
        return _VARIABLES[class_name]  # Keras 3 calls it "variable_7"
    if class_name is None and leaf == "kernel" and rank == 4:
        return ("kernel", "depthwise_kernel")  # Keras 3 calls both so; the table's shapes decide
    return _ALIASES.get(leaf, (leaf,))


def keras_1_leaf(layer: str, stored: str) -> str | None:
    """Return what TensorFlow calls Keras 1's variable ``<layer>_W`` and the like, or None."""
    prefix = f"{layer}_"
    return _KERAS_1.get(stored.removeprefix(prefix).split(":")[0]) if stored.startswith(prefix) else None


def numbered_names(
    class_name: str | None, shapes: Sequence[tuple[int, ...]], *, scale: bool | None, center: bool | None
) -> list[tuple[str, ...]]:
    """Return what TensorFlow calls the variables ``vars/0``, ``vars/1``, ... of a ``.weights.h5``.

    Args:
        class_name: The layer's class if the file tells it.
        shapes: Shape of each variable, in order.
        scale: Whether a normalisation has a gamma, if a config says so.
        center: Whether it has a beta, if a config says so.
    """
    ranks = tuple(len(shape) for shape in shapes)
    count = len(ranks)
    if class_name in _BATCH_NORM or (class_name is None and ranks == (1, 1, 1, 1) and len(set(shapes)) == 1):
        return _batch_norm(count, scale=scale, center=center)
    if class_name in _AFFINE and count <= 2:
        return _affine(count, scale=scale, center=center)
    known: Sequence[str] | None = _VARIABLES.get(class_name or "")
    if known and count <= len(known):
        return [(name,) for name in known[:count]]
    unknown: list[tuple[str, ...]] = [(str(number),) for number in range(count)]
    return list(_BY_RANKS.get(ranks, unknown)) if class_name is None else unknown


def _batch_norm(count: int, *, scale: bool | None, center: bool | None) -> list[tuple[str, ...]]:
    affine = _affine(count - len(_STATISTICS), scale=scale, center=center)
    names = affine + [(name,) for name in _STATISTICS]
    return names if len(names) == count else [(str(number),) for number in range(count)]


def _affine(count: int, *, scale: bool | None, center: bool | None) -> list[tuple[str, ...]]:
    both = ["gamma"] * (scale is not False) + ["beta"] * (center is not False)
    if len(both) > count:  # one of them is missing, and no config says which
        return [("gamma", "beta")] * count
    return [(name,) for name in both]
