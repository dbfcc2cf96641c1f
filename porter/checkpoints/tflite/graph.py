"""The network that a TensorFlow Lite model computes, with the constants that are its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from porter.checkpoints.tflite.schema import MISSING, Model, Operator, Tensor
from porter.checkpoints.tflite.values import numbers, require_readable, stored_values
from porter.core.checkpoint import Array
from porter.core.stored_network import Operation, StoredNetwork, needed_part
from porter.formats.malformed import Malformed

ORIGIN = "the file's graph"
_MOST_VALUES = 4096  # of a constant that is no weight: amounts of padding, axes, a scale per channel


class Weight(NamedTuple):
    """A constant that a layer takes as its weight.

    Attributes:
        tensor: Its number.
        layout: How its axes become TensorFlow's: ``"conv"``, ``"depthwise"``, ``"dense"`` or ``""``.
        shape: Its shape with TensorFlow's axes.
        shift: What its values are too large by.
    """

    tensor: int
    layout: str
    shape: tuple[int, ...]
    shift: float = 0.0


class Graph:
    """The operations found so far, and what each tensor is.

    Args:
        data: The whole file.
        model: What it holds.

    Attributes:
        model: As given.
        operations: In order of execution.
        shapes: The shape of the output of each.
        is_learned: Whether each has weights, or depends on one that has.
        weights: Each weight by its key.
        of_tensor: Number of the operation whose output a tensor is.
        constants: The stored tensor that a constant tensor stands for; not itself behind a DEQUANTIZE.
        stored_as: How many weights are of each element type.
    """

    def __init__(self, data: bytes, model: Model) -> None:
        self.model = model
        self.operations: list[Operation] = []
        self.shapes: list[tuple[int, ...]] = []
        self.is_learned: list[bool] = []
        self.weights: dict[str, Weight] = {}
        self.of_tensor: dict[int, int] = {}
        self.constants = {number: number for number, each in enumerate(model.tensors) if each.is_constant}
        self._data = data
        self._keys: dict[tuple[int, str], str] = {}

    def tensor(self, number: int) -> Tensor:
        """Return a tensor, or the stored one that it stands for."""
        return self.model.tensors[self.constants.get(number, number)]

    def takes(self, operator: Operator, position: int) -> int:
        """Return the number of the operation whose output an operator takes.

        Raises:
            Malformed: it takes no such input, or one that nothing before it makes.
        """
        number = operator.inputs[position] if position < len(operator.inputs) else MISSING
        if number not in self.of_tensor:
            raise Malformed(
                "tflite/order",
                "an operator takes what nothing before it makes",
                found=f"input {position} of {self.name_of(operator)}",
            )
        return self.of_tensor[number]

    def is_computed(self, operator: Operator, position: int) -> bool:
        """Whether an input is the output of an operation."""
        return position < len(operator.inputs) and operator.inputs[position] in self.of_tensor

    def is_there(self, operator: Operator, position: int) -> bool:
        """Whether an operator has an input at all."""
        return position < len(operator.inputs) and operator.inputs[position] != MISSING

    def values(self, operator: Operator, position: int) -> Array:
        """Return a small constant input as it is stored.

        Raises:
            Malformed: it is no constant, or not small.
        """
        return stored_values(self._data, self._constant(operator, position, small=True))

    def numbers(self, operator: Operator, position: int) -> Array:
        """Return a small constant input as numbers, dequantised.

        Raises:
            Malformed: it is no constant, or not small.
        """
        return numbers(self._data, self._constant(operator, position, small=True))

    def weight(self, operator: Operator, position: int, layout: str, shape: tuple[int, ...]) -> str:
        """Register a constant input as a weight, and return its key.

        Raises:
            Malformed: it is no constant, or its numbers cannot be told.
        """
        tensor = self._constant(operator, position)
        require_readable(tensor)
        number = self.constants[operator.inputs[position]]
        key = self._keys.get((number, layout))
        if key is None:
            name = tensor.name or f"tensor {number}"
            key = name if name not in self.weights else f"{name} #{number}"
            while key in self.weights:
                key += " again"
            self._keys[number, layout] = key
            self.weights[key] = Weight(number, layout, shape)
        return key

    def add(
        self,
        kind: str,
        operator: Operator,
        inputs: tuple[int, ...],
        attributes: Mapping[str, Any],
        variables: Mapping[str, str] | None = None,
    ) -> int:
        """Append an operation and return its number."""
        self.operations.append(Operation(kind, self.name_of(operator), inputs, attributes, variables or {}))
        self.shapes.append(self.model.tensors[operator.outputs[0]].shape if operator.outputs else ())
        self.is_learned.append(bool(variables) or any(self.is_learned[taken] for taken in inputs))
        return len(self.operations) - 1

    def name_of(self, operator: Operator) -> str:
        """Return what an operator's output is called."""
        return (
            self.model.tensors[operator.outputs[0]].name if operator.outputs else f"operator {operator.code}"
        )

    def network(self) -> StoredNetwork | None:
        """Return the network, or None if it returns something that no operation makes."""
        ends = [self.of_tensor[number] for number in self.model.outputs if number in self.of_tensor]
        if len(ends) != len(self.model.outputs) or not ends:
            return None
        return StoredNetwork(*needed_part(self.operations, ends), ORIGIN)

    def _constant(self, operator: Operator, position: int, *, small: bool = False) -> Tensor:
        number = operator.inputs[position] if position < len(operator.inputs) else MISSING
        if number not in self.constants:
            raise Malformed(
                "tflite/no-constant",
                "an operator lacks a constant that it needs",
                found=f"input {position} of {self.name_of(operator)}",
            )
        tensor = self.tensor(number)
        if small and tensor.buffer[1] > 8 * _MOST_VALUES:
            raise Malformed(
                "tflite/large-constant", f"{tensor.name} is implausibly large", found=tensor.shape
            )
        return tensor
