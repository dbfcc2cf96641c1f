"""What each of Keras's layers computes, in the terms of `porter.core.stored_network`.

Source: the layers' `call` and `get_config` in tf_keras 2.20 and Keras 3.15.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from porter.checkpoints.keras.config import LayerConfig

Attributes = dict[str, Any]


class Step(NamedTuple):
    """One operation of a layer: its kind and attributes."""

    kind: str
    attributes: Attributes


# Keras 2's hard_sigmoid is clip(0.2 x + 0.5), Keras 3's is relu6(x + 3) / 6.
_HARD = MappingProxyType({"slope": 1 / 6, "offset": 0.5})
_OLD_HARD = MappingProxyType({"slope": 0.2, "offset": 0.5})
_RELU = MappingProxyType({"max_value": None, "negative_slope": 0.0, "threshold": 0.0})

ACTIVATIONS: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "relu": ("relu", _RELU),
        "relu6": ("relu", {**_RELU, "max_value": 6.0}),
        "leaky_relu": ("relu", {**_RELU, "negative_slope": 0.2}),
        "swish": ("swish", {}),
        "silu": ("swish", {}),
        "hard_silu": ("hard_swish", _HARD),
        "hard_swish": ("hard_swish", _HARD),
        "hard_sigmoid": ("hard_sigmoid", _HARD),
        "gelu": ("gelu", {"approximate": False}),
        "elu": ("elu", {"alpha": 1.0}),
    }
    | {
        name: (name, {})
        for name in ("sigmoid", "softmax", "tanh", "softplus", "softsign", "mish", "selu", "exponential")
    }
)

# They draw at random while a network trains, with these strengths.
RANDOM = frozenset(
    (
        *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "GaussianDropout"),
        *("AlphaDropout", "StochasticDepth"),
    )
)
# Of keras.applications.inception_resnet_v2.
SCALED_SUM = "CustomScaleLayer"
_STRENGTHS = ("rate", "stddev", "stochastic_depth_drop_rate")
# The package `efficientnet`, from which Keras has its own, calls its Dropout so.
FIXED_DROPOUT = "FixedDropout"
_OF_DROPOUT = {"rate", "noise_shape", "seed", "name", "trainable", "dtype", "batch_input_shape"}
_NOTHING = RANDOM | {"Identity", "ActivityRegularization", "InputLayer"}
# What a config says that changes nothing when the network is used.
_IRRELEVANT = frozenset(
    (
        *("name", "dtype", "trainable", "momentum", "norm_momentum", "bn_momentum", "seed", "synchronized"),
        *("use_sync_bn", "batch_input_shape", "batch_shape", "stochastic_depth_drop_rate", "dropout_rate"),
        *("init_stochastic_depth_rate", "survival_prob", "filters", "units", "divisible_by", "input_specs"),
        "num_classes",
    )
)
_LARGEST = 1 << 16
# tf.math.l2_normalize takes no sum of squares below 1e-12, keras.ops.normalize no length.
SHORTEST, _SHORTEST_OF_KERAS_3 = 1e-6, 1e-12
_LAST_OF_A_MAP = 3
_IRRELEVANT_ENDS = ("_initializer", "_regularizer", "_constraint")


def steps(layer: LayerConfig, *, is_keras_3: bool) -> list[Step]:
    """Return the operations of a layer in order; none where it passes its input on.

    Args:
        layer: No model.
        is_keras_3: Whether Keras 3 wrote it: some names mean something else there.

    Raises:
        ValueError: an attribute has a form that Keras does not write.
    """
    values = layer.values
    if layer.class_name in _NOTHING or is_fixed_dropout(layer.class_name, values):
        return []
    if layer.class_name == "Activation":
        return _activation(values.get("activation"), is_keras_3=is_keras_3)
    known = _LAYERS.get(layer.class_name)
    if known is None or layer.is_foreign:
        return [Step("other", {"class_name": layer.class_name, **relevant(values)})]
    own = [known(values)]
    if layer.class_name == "UnitNormalization" and is_keras_3:
        own[0].attributes["shortest"] = _SHORTEST_OF_KERAS_3
    if layer.class_name == "SeparableConv2D":
        own = _separable(own[0])
    for step in own if values.get("data_format") == "channels_first" else ():
        step.attributes["data_format"] = "channels_first"
    return [*own, *_activation(values.get("activation"), is_keras_3=is_keras_3)]


def is_fixed_dropout(class_name: str, values: Mapping[str, Any]) -> bool:
    """Whether a class of another package is its Dropout: it has that name and what a Dropout has, no more.

    Example:
        >>> is_fixed_dropout("FixedDropout", {"rate": 0.2, "noise_shape": None, "name": "drop"})
        True
    """
    return class_name == FIXED_DROPOUT and {"rate", "noise_shape"} <= values.keys() <= _OF_DROPOUT


def scaled_sum(values: Mapping[str, Any]) -> tuple[Step, Step]:
    """Return the two operations of a `SCALED_SUM`: the second input's scaling, and the sum."""
    return Step("scale", {"scale": float(values["scale"]), "offset": 0.0}), Step("add", {})


def as_in_training(layer: LayerConfig, found: list[Step]) -> list[Step]:
    """Return the operations of a layer that is called as in training, whatever the model is used for.

    A norm takes the batch's statistics then, not the stored ones, and a dropout draws at random.
    """
    if found and found[0].kind == "norm":
        found[0].attributes["training"] = True
    strength = next((layer.values[name] for name in _STRENGTHS if name in layer.values), 0)
    if layer.class_name in RANDOM and strength:
        return [Step("other", {"class_name": layer.class_name, "training": True})]
    return found


def activation_step(name: str, *, is_keras_3: bool) -> list[Step]:
    """Return the operation of an activation by its name in Keras; none for ``"linear"``."""
    if name == "linear":
        return []
    if name not in ACTIVATIONS:
        return [Step("other", {"class_name": "activation", "function": name})]
    kind, attributes = ACTIVATIONS[name]
    if name == "hard_sigmoid" and not is_keras_3:
        attributes = _OLD_HARD
    return [Step(kind, dict(attributes))]


def relevant(values: Mapping[str, Any]) -> Attributes:
    """Return what a config says of what is computed: no names, types, or anything about training."""
    return {
        key: value
        for key, value in values.items()
        if key not in _IRRELEVANT and not key.endswith(_IRRELEVANT_ENDS) and value is not None
    }


def _activation(value: Any, *, is_keras_3: bool) -> list[Step]:
    if value is None:
        return []
    if isinstance(value, Mapping):  # a function or a layer, spelt out
        inner = value.get("config")
        if isinstance(inner, Mapping) and isinstance(value.get("class_name"), str):
            return steps(LayerConfig("", value["class_name"], None, values=inner), is_keras_3=is_keras_3)
        value = inner if isinstance(inner, str) else value.get("class_name", "")
    if not isinstance(value, str):
        raise TypeError("no activation")
    return activation_step(value, is_keras_3=is_keras_3)


def _pair(value: Any, default: int = 1) -> tuple[int, int]:
    if isinstance(value, Mapping):  # a tuple in a SavedModel
        value = value["items"]
    first, second = (default, default) if value is None else (value, value) if type(value) is int else value
    if min(first, second) < 0 or max(first, second) > _LARGEST:
        raise ValueError("an implausible length")
    return int(first), int(second)


def _positive(value: Any, default: int = 1) -> tuple[int, int]:
    pair = _pair(value, default)
    if 0 in pair:
        raise ValueError("a length of nothing")
    return pair


def _conv(kind: str) -> Callable[[Mapping[str, Any]], Step]:
    def read(values: Mapping[str, Any]) -> Step:
        return Step(
            kind,
            {
                "kernel": _positive(values.get("kernel_size")),
                "strides": _positive(values.get("strides")),
                "padding": str(values.get("padding", "valid")),
                "dilation": _positive(values.get("dilation_rate")),
                "groups": int(values.get("groups") or 1) if kind != "depthwise_conv" else 1,
                "use_bias": bool(values.get("use_bias", True)),
            },
        )

    return read


def _separable(step: Step) -> list[Step]:
    """Return a separable convolution as the two that it is, the first without a bias."""
    point = {"kernel": (1, 1), "strides": (1, 1), "padding": "valid", "dilation": (1, 1), "groups": 1}
    use_bias = step.attributes["use_bias"]
    return [
        Step("depthwise_conv", {**step.attributes, "use_bias": False}),
        Step("conv", {**point, "use_bias": use_bias}),
    ]


def _norm(kind: str) -> Callable[[Mapping[str, Any]], Step]:
    def read(values: Mapping[str, Any]) -> Step:
        axes = values.get("axis", -1)
        axes = axes["items"] if isinstance(axes, Mapping) else axes
        listed = axes if isinstance(axes, list) else [axes]
        # Of four axes, or of whatever number there is: the last one.
        last = tuple(-1 if axis in (_LAST_OF_A_MAP, -1) else int(axis) for axis in listed)
        return Step(kind, {"epsilon": float(values.get("epsilon", 1e-3)), "axes": last})

    return read


def _group_norm(values: Mapping[str, Any]) -> Step:
    return Step("group_norm", {**_norm("")(values).attributes, "groups": int(values.get("groups", 32))})


def _unit_norm(values: Mapping[str, Any]) -> Step:
    return Step("unit_norm", {"axes": _norm("")(values).attributes["axes"], "shortest": SHORTEST})


def _pool(kind: str) -> Callable[[Mapping[str, Any]], Step]:
    def read(values: Mapping[str, Any]) -> Step:
        size = _positive(values.get("pool_size"), 2)
        strides = size if values.get("strides") is None else _positive(values.get("strides"))
        padding = str(values.get("padding", "valid"))
        return Step(kind, {"size": size, "strides": strides, "padding": padding})

    return read


def _global_pool(kind: str) -> Callable[[Mapping[str, Any]], Step]:
    return lambda _values: Step(kind, {})


def _relu(values: Mapping[str, Any]) -> Step:
    most = values.get("max_value")
    return Step(
        "relu",
        {
            "max_value": None if most is None else float(most),
            "negative_slope": float(values.get("negative_slope") or 0),
            "threshold": float(values.get("threshold") or 0),
        },
    )


def _concat(values: Mapping[str, Any]) -> Step:
    axis = values.get("axis", -1)
    return Step("concat", {"axis": -1 if axis == _LAST_OF_A_MAP else axis})


def _softmax(values: Mapping[str, Any]) -> Step:
    axis = values.get("axis", -1)
    return Step("softmax", {} if axis == -1 else {"axis": axis})


def _leaky(values: Mapping[str, Any]) -> Step:
    slope = values.get("negative_slope", values.get("alpha", 0.3))
    return Step("relu", {**_RELU, "negative_slope": float(slope)})


def _pad(values: Mapping[str, Any]) -> Step:
    amounts = values.get("padding", 1)
    amounts = amounts["items"] if isinstance(amounts, Mapping) else amounts
    both = [amounts, amounts] if type(amounts) is int else amounts
    pairs = tuple(_pair(axis) for axis in both)
    return Step("pad", {"amounts": pairs, "mode": "constant", "value": 0.0})


def _rescaling(values: Mapping[str, Any]) -> Step:
    return Step("scale", {"scale": values.get("scale", 1.0), "offset": values.get("offset", 0.0)})


def _plain(kind: str, **defaults: Any) -> Callable[[Mapping[str, Any]], Step]:
    return lambda values: Step(kind, {name: values.get(name, value) for name, value in defaults.items()})


_LAYERS: Mapping[str, Callable[[Mapping[str, Any]], Step]] = MappingProxyType(
    {
        "Conv2D": _conv("conv"),
        "Convolution2D": _conv("conv"),
        "DepthwiseConv2D": _conv("depthwise_conv"),
        "SeparableConv2D": _conv("depthwise_conv"),
        "Conv2DTranspose": _conv("transposed_conv"),
        "Dense": _plain("dense", use_bias=True),
        **dict.fromkeys(
            ("BatchNormalization", "SyncBatchNormalization", "BatchNormalizationV1", "BatchNormalizationV2"),
            _norm("norm"),
        ),
        "LayerNormalization": _norm("layer_norm"),
        "GroupNormalization": _group_norm,
        "UnitNormalization": _unit_norm,
        "LayerScale": lambda _values: Step("layer_scale", {}),  # of keras.applications.convnext
        "ReLU": _relu,
        "LeakyReLU": _leaky,
        "ELU": _plain("elu", alpha=1.0),
        "PReLU": _plain("prelu"),
        "Softmax": _softmax,
        "Add": _plain("add"),
        "Subtract": _plain("subtract"),
        "Multiply": _plain("multiply"),
        "Average": _plain("average"),
        "Maximum": _plain("maximum"),
        "Concatenate": _concat,
        "Rescaling": _rescaling,
        "MaxPooling2D": _pool("max_pool"),
        "AveragePooling2D": _pool("avg_pool"),
        "GlobalAveragePooling2D": _global_pool("global_avg_pool"),
        "GlobalMaxPooling2D": _global_pool("global_max_pool"),
        "ZeroPadding2D": _pad,
        "Flatten": _plain("flatten"),
        "Reshape": _plain("reshape", target_shape=None),
        "Resizing": _plain("resize"),
    }
)
