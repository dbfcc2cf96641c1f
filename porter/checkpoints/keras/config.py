"""The JSON that Keras writes beside weights: names and classes of layers. Nothing in it is ever run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from porter.formats.malformed import Malformed

_MOST_DEPTH = 32
# Keras's own, of keras.applications.inception_resnet_v2, in the package of people's own classes.
_REGISTERED_AS_CUSTOM = "Custom>CustomScaleLayer"
_KERAS = ("keras", "tf_keras", "tensorflow", "builtins")
_LARGEST_CONFIG = 64 << 20


@dataclass(frozen=True, slots=True)
class LayerConfig:
    """What a config says of one layer.

    Attributes:
        name: The layer's name, or "" if the config has none.
        class_name: Its class; a Lambda is a class like any other, and its code is not looked at.
        layers: Its layers if it is a functional or sequential model, else None.
        scale: Whether a normalisation has a gamma, or None.
        center: Whether it has a beta, or None.
        dim_ordering: Keras 1's ``"th"`` or ``"tf"``, or None.
        is_foreign: Whether its class is somebody's own, which may have the name of one of Keras's.
        values: Everything that its own config says, but for `layers`.
        calls: What it is called with, once for each call, as Keras's JSON has it (``inbound_nodes``).
    """

    name: str
    class_name: str
    layers: tuple[LayerConfig, ...] | None
    scale: bool | None = None
    center: bool | None = None
    dim_ordering: str | None = None
    is_foreign: bool = False
    values: Mapping[str, Any] = field(default_factory=dict)
    calls: tuple[Any, ...] = ()

    @property
    def all(self) -> Iterator[LayerConfig]:
        """Every layer below this one, nested models included."""
        for layer in self.layers or ():
            yield layer
            yield from layer.all


def parse_config(text: str | bytes) -> LayerConfig:
    """Read a model's config.

    Raises:
        Malformed: it is no JSON, or not the JSON of a model.
    """
    if len(text) > _LARGEST_CONFIG:
        raise Malformed("keras/huge-config", "the model's config is implausibly long", found=len(text))
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed("keras/bad-config", f"the model's config is no JSON ({error})") from error
    return _layer(document, 0)


def parse_layer(document: Any) -> LayerConfig:
    """Read the config of one layer from its JSON.

    Raises:
        Malformed: it is not that of a layer.
    """
    return _layer(document, 0)


def uses_averages(text: str | bytes) -> bool | None:
    """Whether a model's config says that its optimizer holds moving averages; None if it does not tell."""
    found = [
        values["use_ema"]
        for values in _objects(json.loads(text).get("compile_config"), 0)
        if "use_ema" in values
    ]
    return any(value is True for value in found) if found else None


def _objects(value: Any, depth: int) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict) and depth <= _MOST_DEPTH:
        yield value
        for inner in value.values():
            yield from _objects(inner, depth + 1)


def _layer(document: Any, depth: int) -> LayerConfig:
    if depth > _MOST_DEPTH or not isinstance(document, dict):
        raise Malformed("keras/bad-config", "the model's config is not that of a model")
    config = document.get("config")
    # Keras 1 and early 2 keep the layers of a Sequential directly under "config".
    listed = config if isinstance(config, list) else None
    values = config if isinstance(config, dict) else {}
    listed = values.get("layers") if listed is None else listed
    name = values.get("name", document.get("name", ""))
    class_name = document.get("class_name", "")  # "package>Class" if Keras registers it
    if not isinstance(name, str) or not isinstance(class_name, str) or not isinstance(listed, list | None):
        raise Malformed("keras/bad-config", "the model's config is not that of a model")
    layers = None if listed is None else tuple(_layer(layer, depth + 1) for layer in listed)
    return LayerConfig(
        name,
        class_name.rpartition(">")[2],
        layers,
        _flag(values.get("scale")),
        _flag(values.get("center")),
        values.get("dim_ordering") if isinstance(values.get("dim_ordering"), str) else None,
        _is_foreign(class_name, document),
        {key: value for key, value in values.items() if key != "layers"},
        tuple(calls) if isinstance(calls := document.get("inbound_nodes"), list) else (),
    )


def _is_foreign(class_name: str, document: Mapping[str, Any]) -> bool:
    """Whether a class is registered, or its module said to lie, outside of Keras."""
    package = class_name.rpartition(">")[0]
    module = document.get("module")
    is_elsewhere = isinstance(module, str) and module.partition(".")[0] not in _KERAS
    is_own = isinstance(document.get("registered_name"), str) and is_elsewhere
    if class_name == _REGISTERED_AS_CUSTOM:
        return is_elsewhere
    return is_own or bool(package and package.partition(".")[0].lower() not in _KERAS)


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None
