"""What the layers of a functional Keras model are called with: tensors of other layers, and constants.

LayerOutput of the two spellings: Functional.get_config of tf_keras 2.20 (lists) and of Keras 3.15 (objects).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

# What reading a config of another shape than Keras writes can end in.
UNREADABLE = (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError)
_CONSTANT = "_CONSTANT_VALUE"
_TENSOR = "__keras_tensor__"
_ARRAYS = ("__tensor__", "__numpy__")


class LayerOutput(NamedTuple):
    """An output of a layer: which layer, which of its calls, which of the outputs."""

    layer: str
    call: int
    output: int


class Call(NamedTuple):
    """One call of a layer.

    Attributes:
        arguments: Tensors and constants in order; lists of tensors are laid flat.
        named: Those that are given by name.
    """

    arguments: tuple[Any, ...]
    named: Mapping[str, Any]

    @property
    def sources(self) -> tuple[LayerOutput, ...]:
        """Every tensor that the layer is called with."""
        return tuple(
            item for item in (*self.arguments, *self.named.values()) if isinstance(item, LayerOutput)
        )


def parse_call(node: Any) -> Call:
    """Return one of a layer's ``inbound_nodes``.

    Raises:
        ValueError: it is spelt in neither of the ways that Keras has.
    """
    if isinstance(node, Mapping):  # Keras 3
        named = {name: _parsed(value) for name, value in dict(node.get("kwargs") or {}).items()}
        return Call(tuple(_flat([_parsed(value) for value in node.get("args") or ()])), named)
    if not isinstance(node, list) or not node:
        raise ValueError("no call of a layer")
    items = [node] if isinstance(node[0], str) else node
    named = {}
    for item in items:
        if len(item) > 3 and isinstance(item[3], Mapping):
            named.update({name: _listed(value) for name, value in item[3].items()})
    return Call(tuple(_listed(item[:3]) for item in items), named)


def parse_sources(value: Any) -> tuple[LayerOutput, ...]:
    """Return ``input_layers`` or ``output_layers`` of a model: one tensor or a list (or dict) of them."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list) and value and isinstance(value[0], str):
        value = [value]
    found = tuple(_listed(item) for item in value or ())
    if not all(isinstance(item, LayerOutput) for item in found):
        raise ValueError("no outputs of layers")
    return found


def _listed(value: Any) -> Any:
    """Return the `LayerOutput` that a list like ``["conv1", 0, 0]`` stands for; other values as they are."""
    if not isinstance(value, list) or len(value) not in (3, 4) or not isinstance(value[0], str):
        return value
    if value[0] == _CONSTANT:
        return value[2]
    if type(value[1]) is int and type(value[2]) is int:
        return LayerOutput(value[0], value[1], value[2])
    return value


def _parsed(value: Any) -> Any:
    if isinstance(value, list):
        return [_parsed(item) for item in value]
    if isinstance(value, Mapping) and value.get("class_name") == _TENSOR:
        layer, call, output = value["config"]["keras_history"]
        return LayerOutput(str(layer), int(call), int(output))
    if isinstance(value, Mapping) and value.get("class_name") in _ARRAYS:
        return value["config"]["value"]
    return value


def _flat(values: list[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list) and any(isinstance(item, LayerOutput) for item in value):
            yield from value
        else:
            yield value
