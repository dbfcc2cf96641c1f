"""Layers that tensorflow_model_optimization wrapped for training: the weights are those of the layer inside.

A quantisation wrapper rounds weights and activations on the way and keeps ranges; a pruning wrapper has set
weights to zero and keeps masks. Neither changes what the layer inside is, nor where its weights are.

Source: tensorflow_model_optimization/python/core/{quantization,sparsity}/keras/*wrapper*.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

from porter.checkpoints.keras.config import LayerConfig
from porter.checkpoints.keras.layers import Layer

STATE = "optimisation_wrapper"
QUANTISERS = ("QuantizeWrapper", "QuantizeWrapperV2")
PRUNERS = ("PruneLowMagnitude",)
WRAPPERS = (*QUANTISERS, *PRUNERS)
QUANTISED_INPUT = "QuantizeLayer"
# Names that the wrappers give to a variable of their own; every wrapper has one of them.
COUNTERS = ("optimizer_step", "pruning_step")
_QUANTISED = (
    "{count} layers were trained for 8 bits (quantize_model): ported are their float weights, without the "
    "rounding that the wrappers add"
)
_INT8 = (
    "Keras quantised layers to int8: ported are kernels divided by their scales; what rounding took away "
    "does not come back"
)
_PRUNED = (
    "{count} layers are in wrappers of prune_low_magnitude: ported are their weights as they stand, without "
    "the masks"
)
_NARROW = (
    "{count} layers of the source compute in {dtype}: the ported network computes in what it is loaded as, "
    "float32 unless told otherwise, and differs by the rounding that the source adds"
)
_HALVES = ("float16", "bfloat16")
_REMARKS = (((*QUANTISERS, QUANTISED_INPUT), _QUANTISED), (PRUNERS, _PRUNED))


def unwrapped(config: LayerConfig, parse: Callable[[Any], LayerConfig]) -> LayerConfig:
    """Return a model's config with each wrapped layer in the place and under the name of its wrapper.

    Args:
        config: The model's config.
        parse: Reads the config of one layer.

    Raises:
        Malformed: a wrapper's layer is none.
    """
    if config.class_name == QUANTISED_INPUT:
        return replace(config, class_name="Identity", is_foreign=False)
    if config.class_name in WRAPPERS:
        inner = parse(config.values.get("layer"))
        return replace(_without_rounding(inner), name=config.name, calls=config.calls)
    if config.layers is None:
        return config
    return replace(config, layers=tuple(unwrapped(layer, parse) for layer in config.layers))


def is_int8(config: LayerConfig | None) -> bool:
    """Whether Keras 3 quantised a layer (``model.quantize("int8")``)."""
    policy = None if config is None else config.values.get("dtype")
    inner = policy.get("config") if isinstance(policy, dict) else None
    return isinstance(inner, dict) and inner.get("mode") == "int8"


def _half(config: LayerConfig) -> str:
    """Return the narrow type that a layer computes in, by its policy; "" if it has none."""
    policy = config.values.get("dtype")
    inner = policy.get("config") if isinstance(policy, Mapping) else None
    name = inner.get("name") if isinstance(inner, Mapping) else policy
    dtype = name.removeprefix("mixed_") if isinstance(name, str) else ""
    return dtype if dtype in _HALVES else ""


def _without_rounding(layer: LayerConfig) -> LayerConfig:
    values = dict(layer.values)
    activation = values.get("activation")
    while isinstance(activation, dict) and activation.get("class_name") in (
        "QuantizeAwareActivation",
        "NoOpActivation",
    ):
        inner = activation.get("config")
        activation = inner.get("activation", "linear") if isinstance(inner, dict) else "linear"
        values["activation"] = activation
    return replace(layer, values=values)


def remarks(config: LayerConfig | None) -> Iterator[str]:
    """Yield what the wrappers in a config mean for a port."""
    if any(is_int8(layer) for layer in config.all) if config is not None else False:
        yield _INT8
    narrow = Counter(dtype for layer in config.all if (dtype := _half(layer))) if config is not None else {}
    for dtype, count in narrow.items():
        yield _NARROW.format(count=count, dtype=dtype)
    for classes, text in _REMARKS:
        count = sum(layer.class_name in classes for layer in config.all) if config is not None else 0
        if count:
            yield text.format(count=count)


def gather_state(model: Layer) -> None:
    """Move what wrappers keep for themselves to one part of the model: layers are told apart by the rest."""
    kept = []
    for layer in model.all:
        own = [part for part in layer.attributes if part.name == STATE]
        kept += [replace(v, edges=(v.key.replace("/", "."),)) for part in own for v in part.variables]
        layer.attributes = [part for part in layer.attributes if part.name != STATE]
    if kept:
        model.attributes.append(Layer(STATE, kept, is_state=True))


def moved_keys(shapes: Mapping[str, tuple[int, ...]], own: Sequence[str], inside: Sequence[str]) -> list[str]:
    """Return the keys of a wrapped layer's variables, in the layer's own order.

    A quantisation wrapper takes a kernel out of its layer and lists, before its own counter, a scalar: what
    of the layer trains, then the kernel once more.

    Args:
        shapes: Shape of every variable by key.
        own: The wrapper's variables, in order.
        inside: The layer's.
    """
    if any(len(shapes[key]) > 1 for key in inside) or not own or len(shapes[own[0]]) < 2:
        return list(inside)
    listed = list(takewhile(lambda key: shapes[key], own))
    if len(listed) > 1 and shapes[listed[-1]] == shapes[listed[0]]:
        listed.pop()
    return listed if len(listed) > 1 else [*listed, *inside]
