"""Keras's first HDF5 format, ``.h5``: a group per layer, and attributes that list names in the model's order.

Source of the format: tf_keras/src/saving/legacy/hdf5_format.py; Keras 1 and 3 write the same structure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

from porter.checkpoints.keras.config import LayerConfig, parse_config, parse_layer
from porter.checkpoints.keras.layers import Layer, Order, Variable
from porter.checkpoints.keras.names import keras_1_leaf, leaf_names
from porter.checkpoints.keras.wrappers import COUNTERS, STATE, WRAPPERS
from porter.errors import printable
from porter.formats.hdf5.description import Attribute, Description
from porter.formats.malformed import Malformed

_STATISTICS = ("moving_mean", "moving_variance", "running_mean", "running_std")
_OPTIMIZER = "optimizer_weights"


class _Weight(NamedTuple):
    """A stored variable: what is left of its path below the layer, and where it is."""

    parts: tuple[str, ...]
    name: str
    key: str
    rank: int


def is_legacy(description: Description) -> bool:
    """Whether the file is laid out in Keras's first format."""
    return any(_names(description, base, "layer_names") is not None for base in ("", "model_weights"))


def legacy_config(description: Description) -> LayerConfig | None:
    """Return the model's config, or None in a file of weights alone.

    Raises:
        Malformed: it is not the config of a model.
    """
    text = description.groups[""].get("model_config")
    return parse_config(text) if isinstance(text, str) else None


def legacy_model(description: Description, config: LayerConfig | None) -> Layer:
    """Return the model that the file holds, whose config is `config`.

    Raises:
        Malformed: a name that an attribute lists is not there, or the kernels are laid out for Theano.
    """
    base = "" if _names(description, "", "layer_names") is not None else "model_weights"
    _require_tensorflow_kernels(description, base, config)
    known = {layer.name: layer for layer in (config.layers if config else None) or ()}
    # Without a config it may be a model of a class of its own, whose layers TensorFlow knows as attributes.
    root = Layer("", order=Order.MODEL if config else Order.BUILT)
    for name in _names(description, base, "layer_names") or ():
        weights = _weights(description, _join(base, name))
        root.layers.append(_layer(name, known.get(name), [_below(name, weight) for weight in weights]))
    own = _join(base, "top_level_model_weights")
    if own in description.groups:
        root.variables = [_variable(None, weight) for weight in _weights(description, own)]
    root.attributes = [_optimizer(description)] if _OPTIMIZER in description.groups else []
    return root


def model_of_names(config: LayerConfig, weights: Iterable[tuple[str, int]]) -> Layer:
    """Return the model of a config with weights that are called as in a legacy file, keys being the names.

    Args:
        config: The model's config.
        weights: Name (``"conv1/kernel"``) and number of axes of each.

    Raises:
        Malformed: a weight belongs to no layer of the config.
    """
    listed = [_Weight(tuple(name.split("/")), name, name, rank) for name, rank in weights]
    model = _model("", config, listed) if config.layers is not None else None
    if model is None:
        raise Malformed(
            "keras/foreign-weight",
            "the weights are not those of the layers in the model's config",
            hint="Save or convert the model again.",
        )
    return model


def versions(description: Description) -> str:
    """Return the versions that the file names, e.g. ``"Keras 2.4.0, full model"``."""
    attributes = {**description.groups.get("model_weights", {}), **description.groups[""]}
    version = attributes.get("keras_version")
    kind = "full model" if "model_config" in attributes else "weights only"
    return f"{f'Keras {printable(version)}' if isinstance(version, str) else 'Keras 1'}, {kind}"


def _require_tensorflow_kernels(description: Description, base: str, config: LayerConfig | None) -> None:
    backend = description.groups[base].get("backend", description.groups[""].get("backend"))
    theano = config is not None and any(layer.dim_ordering == "th" for layer in config.all)
    if backend == "theano" or theano:
        raise Malformed(
            "keras/theano-kernels",
            "its convolution kernels are laid out for Theano, rotated or with channels first",
            hint="Load it in Keras with the TensorFlow backend and save it again.",
        )


def _names(description: Description, path: str, attribute: str) -> list[str] | None:
    """Return a list of names, which Keras cuts into numbered attributes if it is above 64 kB."""
    attributes: Mapping[str, Attribute] = description.groups.get(path, {})
    if attribute in attributes:
        value = attributes[attribute]
        return value if isinstance(value, list) else [value]
    pieces: list[list[str]] = []
    while (piece := attributes.get(f"{attribute}{len(pieces)}")) is not None:
        pieces.append(piece if isinstance(piece, list) else [piece])
    return [name for piece in pieces for name in piece] if pieces else None


def _weights(description: Description, path: str) -> list[_Weight]:
    if path not in description.groups:
        raise Malformed(
            "keras/missing-layer", "a layer is listed and not there", found=f"'{printable(path)}'"
        )
    found = []
    for name in _names(description, path, "weight_names") or ():
        key = _join(path, name)
        if key not in description.datasets:
            raise Malformed(
                "keras/missing-weight", "a variable is listed and not there", found=f"'{printable(key)}'"
            )
        rank = len(description.datasets[key].spec.shape)
        found.append(_Weight(tuple(name.split("/")), name, key, rank))
    return found


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def _layer(name: str, config: LayerConfig | None, weights: list[_Weight]) -> Layer:
    """Return the layer or nested model called `name`, whose variables are named from there on."""
    if config is not None and config.layers is not None and (model := _model(name, config, weights)):
        return model
    if any(len(weight.parts) == 1 and _leaf(weight) in COUNTERS for weight in weights):
        return _wrapped(name, config, weights)
    class_name = config.class_name if config else None
    layer = Layer(name, [_variable(class_name, weight, name) for weight in weights if len(weight.parts) == 1])
    deeper = _grouped(weight for weight in weights if len(weight.parts) > 1)
    if (
        not layer.variables
        and len(deeper) == 1
        and re.fullmatch(rf"{re.escape(name)}_\d+", next(iter(deeper)))
    ):
        # A name scope that TensorFlow 1 made unique, not a layer inside the layer.
        return _layer(name, config, next(iter(deeper.values())))
    layer.layers = [_layer(inner, None, group) for inner, group in deeper.items()]
    has_statistics = any(_leaf(weight) in _STATISTICS for weight in weights)
    is_rising = True if has_statistics else _is_rising(deeper)
    layer.is_frozen_in_part = is_rising is False or _is_shuffled(weights)
    layer.is_assumed = is_rising is None
    layer.order = Order.UNKNOWN if layer.is_frozen_in_part else Order.BUILT
    return layer


def _wrapped(name: str, config: LayerConfig | None, weights: list[_Weight]) -> Layer:
    """Return the layer inside a wrapper, under the wrapper's name, whose own variables are no weights."""
    inner = parse_layer(config.values.get("layer")) if config and config.class_name in WRAPPERS else None
    class_name = inner.class_name if inner else None
    own = [_variable(None, weight) for weight in weights if len(weight.parts) == 1]
    inside = [weight._replace(parts=weight.parts[-1:]) for weight in weights if len(weight.parts) > 1]
    variables = [_variable(class_name, weight, weight.name.split("/")[0]) for weight in inside]
    return Layer(name, variables, attributes=[Layer(STATE, own, is_state=True)])


def _below(name: str, weight: _Weight) -> _Weight:
    """Drop everything up to the layer's own name: models around it may be part of the stored name.

    A layer's name may have slashes itself, as in ``"Conv/BatchNorm"``.
    """
    parts, own = weight.parts, tuple(name.split("/"))
    for end in range(len(parts) - 1, len(own) - 1, -1):
        if parts[end - len(own) : end] == own:
            return weight._replace(parts=parts[end:])
    return weight


def _model(name: str, config: LayerConfig, weights: list[_Weight]) -> Layer | None:
    """Return a nested model whose layers its config lists, or None if a variable is in none of them."""
    owners = _owners(config)
    found: dict[str, list[_Weight]] = {}
    for weight in weights:
        owner = next((owners[part] for part in _scopes(weight) if part in owners), set())
        if len(owner) != 1 and len(weight.parts) > 1:
            return None
        found.setdefault("".join(owner), []).append(weight)
    model = Layer(name, [_variable(None, weight) for weight in found.pop("", ())], order=Order.MODEL)
    for layer in config.layers or ():
        if layer.class_name != "InputLayer" or config.class_name != "Sequential":
            below = [_below(layer.name, weight) for weight in found.get(layer.name, [])]
            model.layers.append(_layer(layer.name, layer, below))
    return model


def _scopes(weight: _Weight) -> Iterator[str]:
    """Yield what may be a layer's name in a stored name, outermost first and the longest of those."""
    parts = weight.parts[:-1]
    for start in range(len(parts)):
        yield from ("/".join(parts[start:end]) for end in range(len(parts), start, -1))


def _owners(config: LayerConfig) -> dict[str, set[str]]:
    """Return the layers of a model by the names of their own and of what is inside them.

    Keras drops the names of models around a layer, so the name of a layer of a layer may be all there is.
    """
    owners: dict[str, set[str]] = {}
    for layer in config.layers or ():
        for inner in layer.all:
            owners.setdefault(inner.name, set()).add(layer.name)
    return owners | {layer.name: {layer.name} for layer in config.layers or ()}


def _grouped(weights: Iterable[_Weight]) -> dict[str, list[_Weight]]:
    groups: dict[str, list[_Weight]] = {}
    for weight in weights:
        groups.setdefault(weight.parts[0], []).append(weight._replace(parts=weight.parts[1:]))
    return groups


def _is_shuffled(weights: list[_Weight]) -> bool:
    """Whether trainable and frozen layers are mixed, so that the order is not the model's.

    Keras lists what is trainable first. Where all or none of a model is frozen the order of the layers is
    kept; otherwise a layer whose kernel comes behind other layers' statistics has lost its place.
    """
    owners = [weight.parts[0] for weight in weights]
    is_contiguous = sum(a != b for a, b in pairwise(owners)) < len(set(owners))
    statistics = [_leaf(weight) in _STATISTICS for weight in weights]
    first = statistics.index(True) if True in statistics else len(statistics)
    return not is_contiguous and not all(statistics[first:])


def _is_rising(groups: Mapping[str, list[_Weight]]) -> bool | None:
    """Whether the numbers that Keras gives to equal layers rise, as they do in a model of which all trains.

    Without statistics, which never train, nothing else shows that a layer was frozen and so listed behind the
    others. None if equal layers have names that no number orders; layers of which there is one are told
    apart by their variables.
    """
    equal: dict[tuple[str, ...], list[tuple[str, int]]] = {}
    for name, weights in groups.items():
        variables = tuple(sorted(re.sub(r"\d+", "", "/".join(weight.parts)) for weight in weights))
        number = re.search(r"[_.](\d{1,9})$", name)
        stem = name[: number.start()] if number else name
        equal.setdefault(variables, []).append((stem, int(number[1]) if number else 0))
    several = [names for names in equal.values() if len(names) > 1]
    if any(len({stem for stem, _ in names}) > 1 for names in several):
        return None
    return all(a < b for names in several for (_, a), (_, b) in pairwise(names))


def _leaf(weight: _Weight) -> str:
    return weight.parts[-1].split(":")[0]


def _variable(class_name: str | None, weight: _Weight, layer: str = "") -> Variable:
    leaf = keras_1_leaf(layer, weight.parts[-1])
    edges = (leaf,) if leaf else leaf_names(class_name, weight.parts[-1], weight.rank)
    return Variable(edges, weight.key, weight.name)


def _optimizer(description: Description) -> Layer:
    keys = [key for key in description.datasets if key.startswith(f"{_OPTIMIZER}/")]
    names = (key.removeprefix(f"{_OPTIMIZER}/") for key in keys)
    variables = [Variable((str(n),), *pair) for n, pair in enumerate(zip(keys, names, strict=True))]
    return Layer("optimizer", variables, is_state=True)
