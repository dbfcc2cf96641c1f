"""The network that a Keras config describes, with the variables that the file stores for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from porter.checkpoints.keras.config import LayerConfig
from porter.checkpoints.keras.layers import Layer
from porter.checkpoints.keras.network_calls import UNREADABLE, Call, LayerOutput, parse_call, parse_sources
from porter.checkpoints.keras.network_functions import function_name, function_steps
from porter.checkpoints.keras.network_layers import (
    SCALED_SUM,
    Step,
    as_in_training,
    scaled_sum,
    steps,
)
from porter.core.stored_network import Operation, StoredNetwork

ORIGIN = "the file's config"
_POINTWISE = "pointwise_kernel"
_MOST_OPERATIONS = 100_000


def stored_network(config: LayerConfig, model: Layer) -> StoredNetwork | str:
    """Return the network of a config, or the first layer in it that is not understood.

    Args:
        config: The model's config.
        model: The same model with its variables.
    """
    built = _Builder(model, is_keras_3=any("batch_shape" in layer.values for layer in config.all))
    try:
        outputs = built.model(config, (), model)
    except UNREADABLE:
        return f"{ORIGIN}: {built.reading}"
    return StoredNetwork(tuple(built.operations), tuple(outputs), ORIGIN)


class _Builder:
    def __init__(self, model: Layer, *, is_keras_3: bool) -> None:
        self.operations: list[Operation] = []
        self.reading = "how its layers are connected"
        self._is_keras_3 = is_keras_3
        self._trains = False
        self._by_name: dict[str, list[Layer]] = {}
        for layer in model.all:
            self._by_name.setdefault(layer.name, []).append(layer)

    def model(self, config: LayerConfig, inputs: Sequence[int], stored: Layer | None) -> list[int]:
        """Add the operations of a model that is called with `inputs`, and return the numbers of its outputs.

        A model that is called with nothing is the whole, and takes an operation ``input`` for each input.
        """
        if config.layers is None:
            return self._opaque(config, inputs, stored)
        inner = {layer.name: layer for layer in stored.layers} if stored is not None else {}
        if config.class_name == "Sequential" or not any(layer.calls for layer in config.layers):
            return self._sequential(config, inputs, inner)
        return self._functional(config, inputs, inner)

    def _opaque(self, config: LayerConfig, inputs: Sequence[int], stored: Layer | None) -> list[int]:
        """Add a model of a class of its own, of which the config tells the arguments alone."""
        inputs = inputs or [self._add(Step("input", {}), "input", (), {})]
        found = steps(config, is_keras_3=self._is_keras_3)
        return [self._chain(found, config.name, inputs, _variables(stored))]

    def _sequential(
        self, config: LayerConfig, inputs: Sequence[int], inner: Mapping[str, Layer]
    ) -> list[int]:
        numbers = list(inputs) or [
            self._add(Step("input", {"shape": _first_shape(config)}), config.name, (), {})
        ]
        for layer in config.layers or ():
            if layer.class_name != "InputLayer":
                numbers = self._layer(layer, numbers, inner.get(layer.name), None)
        return numbers

    def _functional(
        self, config: LayerConfig, inputs: Sequence[int], inner: Mapping[str, Layer]
    ) -> list[int]:
        known = self._inputs(config, inputs)
        waiting = [
            (layer, number, self._call(layer, node))
            for layer in config.layers or ()
            if layer.class_name != "InputLayer"
            for number, node in enumerate(layer.calls)
        ]
        self.reading = f"the outputs of {config.name}"
        ends = parse_sources(config.values.get("output_layers"))
        first = _first_calls(config, (*ends, *(source for *_, call in waiting for source in call.sources)))
        while waiting:
            later = []
            for layer, number, call in waiting:
                found = [known.get((source.layer, source.call)) for source in call.sources]
                if not found or any(numbers is None for numbers in found):
                    later.append((layer, number, call))
                    continue
                taken = [
                    numbers[source.output if len(numbers) > 1 else 0]
                    for source, numbers in zip(call.sources, found, strict=True)
                    if numbers is not None
                ]
                known[layer.name, first.get(layer.name, 0) + number] = self._layer(
                    layer, taken, inner.get(layer.name), call
                )
            if len(later) == len(waiting):
                self._begin(later[0][0])
                raise ValueError("a layer is called with what there is not")
            waiting = later
        self.reading = f"the outputs of {config.name}"
        return [_end(known[source.layer, source.call], source) for source in ends]

    def _inputs(self, config: LayerConfig, inputs: Sequence[int]) -> dict[tuple[str, int], list[int]]:
        """Return the outputs of the input layers, by layer and call."""
        self.reading = f"the inputs of {config.name}"
        sources = parse_sources(config.values.get("input_layers"))
        if not inputs:
            shapes = {layer.name: _shape(layer) for layer in config.layers or ()}
            inputs = [
                self._add(Step("input", {"shape": shapes.get(source.layer)}), source.layer, (), {})
                for source in sources
            ]
        pairs = zip(sources, inputs, strict=True)
        return {(source.layer, source.call): [number] for source, number in pairs}

    def _layer(
        self, layer: LayerConfig, inputs: Sequence[int], stored: Layer | None, call: Call | None
    ) -> list[int]:
        self._begin(layer)
        stored = stored or self._only(layer.name)
        if layer.layers is not None:
            return self._called_model(layer, inputs, stored, call)
        if layer.class_name == SCALED_SUM and not layer.is_foreign and len(inputs) == 2:
            return [self._scaled_sum(layer, inputs)]
        name = function_name(layer) if call is not None else ""
        if name and call is not None and not (stored and stored.variables):
            found = function_steps(layer, name, call)
        else:
            found = steps(layer, is_keras_3=self._is_keras_3)
        if _trains(call, default=self._trains):
            found = as_in_training(layer, found)
        return [self._chain(found, layer.name, inputs, _variables(stored))]

    def _scaled_sum(self, layer: LayerConfig, inputs: Sequence[int]) -> int:
        """Add a layer that multiplies its second input with a constant and adds it to the first."""
        shortcut, branch = inputs
        scale, total = scaled_sum(layer.values)
        scaled = self._add(scale, layer.name, (branch,), {})
        return self._add(total, layer.name, (shortcut, scaled), {})

    def _begin(self, layer: LayerConfig) -> None:
        self.reading = f"the layer {layer.name} ({layer.class_name})"

    def _call(self, layer: LayerConfig, node: Any) -> Call:
        self._begin(layer)
        return parse_call(node)

    def _called_model(
        self, model: LayerConfig, inputs: Sequence[int], stored: Layer | None, call: Call | None
    ) -> list[int]:
        """Add a nested model, whose layers train where it was called so."""
        before, self._trains = self._trains, _trains(call, default=self._trains)
        found = self.model(model, inputs, stored)
        self._trains = before
        return found

    def _only(self, name: str) -> Layer | None:
        found = self._by_name.get(name, ())
        return found[0] if len(found) == 1 else None

    def _chain(
        self, found: Iterable[Step], name: str, inputs: Sequence[int], variables: Mapping[str, str]
    ) -> int:
        """Add the operations of one layer, of which the first has the variables.

        A separable convolution is two operations, each with its own kernel.
        """
        number = inputs[0]
        shares = _shares(variables)
        for position, step in enumerate(found):
            taken = tuple(inputs) if position == 0 else (number,)
            number = self._add(step, name, taken, shares[position] if position < len(shares) else {})
        return number

    def _add(self, step: Step, name: str, inputs: tuple[int, ...], variables: Mapping[str, str]) -> int:
        if len(self.operations) >= _MOST_OPERATIONS:
            raise ValueError("implausibly many operations")
        self.operations.append(Operation(step.kind, name, inputs, step.attributes, variables))
        return len(self.operations) - 1


def _first_calls(config: LayerConfig, sources: Iterable[LayerOutput]) -> dict[str, int]:
    """Return the number of the first call of each model inside.

    Both generations of Keras count the call that built a functional model, and do not store it; a Sequential
    model has one or not. Every call that is stored is somebody's source, so the smallest number is the first.
    """
    models = {layer.name for layer in config.layers or () if layer.layers is not None}
    first: dict[str, int] = {}
    for source in sources:
        if source.layer in models:
            first[source.layer] = min(first.get(source.layer, source.call), source.call)
    return first


def _trains(call: Call | None, *, default: bool) -> bool:
    """Whether a call is made as in training, whatever the model is used for."""
    told = None if call is None else call.named.get("training")
    return told if isinstance(told, bool) else default


def _end(numbers: Sequence[int], source: LayerOutput) -> int:
    return numbers[source.output if len(numbers) > 1 else 0]


def _variables(stored: Layer | None) -> dict[str, str]:
    """Return the keys of everything below a layer, by what TensorFlow calls it."""
    if stored is None:
        return {}
    found = {variable.edges[0]: variable.key for variable in stored.variables}
    for inner in (*stored.layers, *stored.attributes):
        if not inner.is_state:
            found |= {f"{inner.name}/{role}": key for role, key in _variables(inner).items()}
    return found


def _shares(variables: Mapping[str, str]) -> list[Mapping[str, str]]:
    """Return the variables of each operation of a layer: of the first one, unless a kernel is pointwise."""
    if _POINTWISE not in variables:
        return [variables]
    second = {"kernel" if role == _POINTWISE else role: key for role, key in variables.items()}
    first = second.pop("depthwise_kernel", None)
    return [{"depthwise_kernel": first} if first else {}, second]


def _first_shape(config: LayerConfig) -> tuple[int | None, ...] | None:
    """Return the shape of a sequential model's input, which a model inside it may be alone to tell."""
    while config.layers and _shape(config.layers[0]) is None:
        config = config.layers[0]
    return _shape(config.layers[0]) if config.layers else None


def _shape(layer: LayerConfig) -> tuple[int | None, ...] | None:
    shape = layer.values.get("batch_shape", layer.values.get("batch_input_shape"))
    if isinstance(shape, Mapping):
        shape = shape.get("items")
    if not isinstance(shape, list):
        return None
    return tuple(length if type(length) is int else None for length in shape)
