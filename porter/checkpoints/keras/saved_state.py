"""Keras's second HDF5 format, ``.weights.h5``: groups by attribute and class, variables by number.

Source of the format: keras/src/saving/saving_lib.py of Keras 3 and of tf_keras.
"""

from __future__ import annotations

import re
from dataclasses import replace

from porter.checkpoints.keras.config import LayerConfig, parse_layer
from porter.checkpoints.keras.layers import Layer, Order, Variable
from porter.checkpoints.keras.names import class_of_snake_case, numbered_names, snake_case
from porter.checkpoints.keras.wrappers import QUANTISED_INPUT, STATE, WRAPPERS, is_int8, moved_keys
from porter.formats.hdf5.description import Description

_OWN = "vars"
# The list of a model's layers. Keras 2.12 stored a dictionary that has every layer with weights twice and so
# counted them 0, 2, 4: there the numbers give an order, and no position in a config.
_LAYERS, _LAYERS_TWICE = "layers", "_layer_checkpoint_dependencies"
_WRAPPER_GROUPS = frozenset(map(snake_case, (*WRAPPERS, QUANTISED_INPUT)))
_STATE = ("optimizer", "metrics", "compile_metrics", "seed_generator", "_seed_generators", "_metrics")


def is_saved_state(description: Description) -> bool:
    """Whether the file is laid out in Keras's second format."""
    return any(path.rpartition("/")[2] == _OWN for path in description.groups)


def saved_model_state(description: Description, config: LayerConfig | None) -> Layer:
    """Return the model that the file holds.

    Args:
        description: What the HDF5 file holds.
        config: The model's config if there is one (in a ``.keras`` archive).
    """
    members: dict[str, list[str]] = {}
    for path in description.groups:
        if path:
            parent, _, name = path.rpartition("/")
            members.setdefault(parent, []).append(name)
    return _Reader(description, members).layer("", "", config, config.class_name if config else None)


class _Reader:
    def __init__(self, description: Description, members: dict[str, list[str]]) -> None:
        self._description = description
        self._members = members
        self._variables: dict[str, list[str]] = {}
        for key in description.datasets:
            self._variables.setdefault(key.rpartition("/")[0], []).append(key)

    def layer(self, path: str, name: str, config: LayerConfig | None, class_name: str | None) -> Layer:
        """Return what is stored below `path`."""
        if is_wrapper(path, class_name):
            return self._wrapped(path, name, config)
        found = Layer(name, self._own_variables(path, name, config, class_name), is_state=name in _STATE)
        if class_name == "Dense" and is_int8(config):
            _divide_by_scale(found)
        found.is_trainable = config is None or config.values.get("trainable") is not False
        for member in sorted(self._members.get(path, ()), key=_numeric):
            inner = f"{path}/{member}" if path else member
            if member == _LAYERS and config is not None and config.layers is not None:
                found.layers, found.order = self._in_order(inner, config), Order.MODEL
            elif member in (_LAYERS, _LAYERS_TWICE):
                found.layers, found.order = self._by_class(inner), Order.CLASS
            elif member != _OWN:
                found.attributes.append(self._attribute(inner, member))
        return found

    def _wrapped(self, path: str, name: str, config: LayerConfig | None) -> Layer:
        """Return the layer inside a wrapper, under the wrapper's name, whose own variables are no weights."""
        inner = None
        if config is not None and config.class_name in WRAPPERS:
            inner = parse_layer(config.values.get("layer"))
        own, inside = self._keys(path), self._keys(f"{path}/layer")
        shapes = {key: self._description.datasets[key].spec.shape for key in (*own, *inside)}
        found = moved_keys(shapes, own, inside)
        variables = self._numbered(found, name, inner, inner.class_name if inner else None)
        rest = [Variable((key.rpartition("/")[2],), key, key) for key in (*own, *inside) if key not in found]
        return Layer(name, variables, attributes=[Layer(STATE, rest, is_state=True)])

    def _keys(self, path: str) -> list[str]:
        return sorted(self._variables.get(f"{path}/{_OWN}" if path else _OWN, ()), key=_numeric)

    def _attribute(self, path: str, name: str) -> Layer:
        if f"{path}/{_OWN}" in self._description.groups or name in _STATE:
            return self.layer(path, name, None, None)
        return Layer(
            name, layers=self._by_class(path), order=Order.CLASS
        )  # a list of layers has no variables

    def _in_order(self, path: str, config: LayerConfig) -> list[Layer]:
        """Return the layers that `config` lists, each from the group that its class and number name."""
        counts: dict[str, int] = {}
        found = []
        for layer in config.layers or ():
            if layer.class_name == "InputLayer" and config.class_name == "Sequential":
                continue
            stem = snake_case(layer.class_name)
            number = counts[stem] = counts.get(stem, -1) + 1
            name = f"{stem}_{number}" if number else stem
            inner = self.layer(f"{path}/{name}", layer.name, layer, layer.class_name)
            found.append(inner)
        return found

    def _by_class(self, path: str) -> list[Layer]:
        members = sorted(self._members.get(path, ()), key=_numeric)
        return [self.layer(f"{path}/{m}", m, None, class_of_snake_case(m)) for m in members]

    def _own_variables(
        self, path: str, name: str, config: LayerConfig | None, class_name: str | None
    ) -> list[Variable]:
        place = f"{path}/{_OWN}" if path else _OWN
        stored = self._description.groups.get(place, {}).get("name", name)
        return self._numbered(self._keys(path), stored, config, class_name)

    def _numbered(
        self, keys: list[str], stored: object, config: LayerConfig | None, class_name: str | None
    ) -> list[Variable]:
        names = [key.rpartition("/")[2] for key in keys]
        edges: list[tuple[str, ...]] = [(name,) for name in names]
        if names == [str(number) for number in range(len(names))]:
            shapes = [self._description.datasets[key].spec.shape for key in keys]
            scale, center = (config.scale, config.center) if config else (None, None)
            edges = numbered_names(class_name, shapes, scale=scale, center=center)
        return [Variable(edge, key, f"{stored}/{edge[0]}") for edge, key in zip(edges, keys, strict=True)]


def _divide_by_scale(layer: Layer) -> None:
    """Take the scale, which Keras stores behind the other variables, as what the kernel is divided by."""
    *variables, scale = layer.variables
    kernel = replace(variables[0], edges=("kernel",), scale=scale.key)
    bias = [replace(each, edges=("bias",)) for each in variables[1:]]
    layer.variables = [kernel, *bias]
    layer.attributes.append(Layer(STATE, [scale], is_state=True))


def is_wrapper(path: str, class_name: str | None) -> bool:
    """Whether a group is a wrapper of tensorflow_model_optimization, by its class or by its name."""
    stem = re.sub(r"_\d+$", "", path.rpartition("/")[2])
    return class_name in (*WRAPPERS, QUANTISED_INPUT) or (class_name is None and stem in _WRAPPER_GROUPS)


def _numeric(name: str) -> tuple[str, int]:
    """Sort key: ``conv2d``, ``conv2d_1``, ``conv2d_2``, ``conv2d_10``, as Keras counts them."""
    match = re.fullmatch(r"(.*?)_?(\d{1,9})", name, re.DOTALL)
    stem = name if match is None else match[1]
    known = class_of_snake_case(name)
    if match is None or (known and snake_case(known) == name):
        return name, 0
    return stem, int(match[2]) + 1
