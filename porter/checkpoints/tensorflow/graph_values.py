"""What the outputs of a graph's nodes are: constants, functions of weights, or outputs of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from porter.core.checkpoint import Array
from porter.core.stored_network import Operation

MOST_OPERATIONS = 100_000


class Constant(NamedTuple):
    """A value that depends on no image and no weight.

    Attributes:
        value: An array, or None where it is not worked out.
        behind_batch: Of a shape that is not worked out because the number of images is not known: the other
            lengths.
    """

    value: Array | None
    behind_batch: tuple[int, ...] | None = None


class Weight:
    """A variable, or what a graph computes of variables and constants alone.

    Attributes:
        op: The operation, ``""`` for a variable itself.
        inputs: What it takes.
        key: The variable's checkpoint key.
    """

    __slots__ = ("inputs", "key", "op")

    def __init__(self, op: str, inputs: Sequence[Value] = (), key: str = "") -> None:
        self.op, self.inputs, self.key = op, tuple(inputs), key

    @property
    def variables(self) -> Iterator[str]:
        """The key of every variable in it, as far as a few operations tell."""
        waiting: list[Value] = [self]
        for _ in range(100):
            if not waiting:
                return
            value = waiting.pop()
            if isinstance(value, Weight):
                if value.key:
                    yield value.key
                waiting.extend(value.inputs)


# A plain number is that of an operation.
Value = int | Constant | Weight


class Layers:
    """The operations of a network while its graph is read.

    Attributes:
        operations: In order.
        channels: How many channels each has, None where that is not known.
        shape_of: The shape of a variable by its key, None where it is not known.
        scaled: Operations that multiply by weights: what they multiply, and by what.
    """

    def __init__(self, shape_of: Callable[[str], tuple[int, ...] | None]) -> None:
        self.operations: list[Operation] = []
        self.channels: list[int | None] = []
        self.shape_of = shape_of
        self.scaled: dict[int, tuple[int, Weight]] = {}

    def add(
        self,
        kind: str,
        name: str,
        inputs: Sequence[int],
        attributes: Mapping[str, object] | None = None,
        variables: Mapping[str, str] | None = None,
        channels: int | None = None,
    ) -> int:
        """Add an operation and return its number; channels are those of its first input if not given."""
        if channels is None and inputs and kind not in ("other", "flatten", "reshape"):
            channels = self.channels[inputs[0]]
        self.operations.append(Operation(kind, name, tuple(inputs), attributes or {}, variables or {}))
        self.channels.append(channels)
        if len(self.operations) > MOST_OPERATIONS:
            raise ValueError("implausibly many operations")
        return len(self.operations) - 1


def layer_name(node_name: str) -> str:
    """Return the scope of a node, its layer's name: ``"model/conv1"`` of ``"model/conv1/Conv2D"``."""
    return node_name.rpartition("/")[0] or node_name
