"""The operations of a frozen graph as a match needs them: each layer whole, with its output's tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from porter.checkpoints.tensorflow.graph_def import parse_graph_def
from porter.checkpoints.tensorflow.graph_inlining import InlinedGraph
from porter.checkpoints.tensorflow.graph_network import LocatedNetwork, located_network
from porter.core.stored_network import REVERSED_CHANNELS, Operation
from porter.runners.joined_gates import join_gates
from porter.runners.joined_groups import join_groups
from porter.runners.joined_layers import join_layers
from porter.runners.joined_norms import join_norms

UNARY = (
    *("relu", "sigmoid", "softmax", "tanh", "softplus", "swish", "hard_sigmoid", "hard_swish", "gelu"),
    *("elu", "selu", "exponential", "reshape", "flatten", "scale"),
)
_SHAPING = ("reshape", "flatten")
_SUMS = ("Add", "AddV2", "BiasAdd")
_BIASED = ("conv", "depthwise_conv", "transposed_conv", "einsum", "dense")
_PRODUCTS = ("MatMul", "BatchMatMulV2", "Einsum")
# What may stand before a network and prepare its images; a pool or a Flatten there belongs to the network.
_PREPARING = ("scale", "subtract", "divide", "multiply", "add", "input", "resize", "concat")
_PREPARING_CLASSES = (
    *(REVERSED_CHANNELS, "Cast", "Sub", "Mul", "Add", "AddV2", "RealDiv", "Square", "Sqrt", "Maximum"),
    *("StridedSlice", "GatherV2", "Pack", "Tile"),
)


@dataclass(slots=True)
class SourceOperation:
    """One operation of the source.

    Attributes:
        kind: As of `Operation`; ``transposed_conv`` and ``einsum`` too.
        name: The source's name of the layer.
        inputs: Numbers of the operations that it takes.
        attributes: As of `Operation`.
        variables: Checkpoint key by role; of groups after the first, by "role number".
        tensor: The graph's tensor that is its output.
        merged: Whether another operation stands for it too.
        beside: Tensors of the other groups, whose channels follow those of `tensor`.
    """

    kind: str
    name: str
    inputs: list[int]
    attributes: dict[str, Any]
    variables: dict[str, str]
    tensor: str
    merged: bool = field(default=False)
    beside: list[str] = field(default_factory=list)


def read_operations(
    graph: bytes,
    outputs: Sequence[str],
    keys: Mapping[str, str],
    shape_of: Callable[[str], tuple[int, ...] | None],
) -> tuple[list[SourceOperation], list[int]] | None:
    """Read a frozen graph.

    Args:
        graph: The GraphDef's bytes.
        outputs: Operations that the network returns.
        keys: Checkpoint key by name of the constant that holds it.
        shape_of: Shape of a variable by its key.

    Returns:
        The operations in order of execution, and the numbers of those that the network returns; None where
        the graph is not in a form that is read.
    """
    located = located_network(InlinedGraph(parse_graph_def(graph)), outputs, keys, shape_of)
    if not isinstance(located, LocatedNetwork):
        return None
    found = [
        _operation(operation, tensor)
        for operation, tensor in zip(located.network.operations, located.tensors, strict=True)
    ]
    join_layers(found)
    for number in range(len(found)):
        _join_bias(found, number)
    join_norms(found)
    join_gates(found)
    join_groups(found, UNARY)
    for number in range(len(found)):
        _join_token(found, number)
    return found, list(located.network.outputs)


def _operation(operation: Operation, tensor: str) -> SourceOperation:
    kind, attributes = operation.kind, dict(operation.attributes)
    variables = dict(operation.variables)
    class_name = attributes.get("class_name")
    if class_name == "Conv2DBackpropInput" and len(variables) == 1:
        kind, variables = "transposed_conv", {"kernel": next(iter(variables.values()))}
        attributes |= _of_transposed(attributes)
    elif class_name in _PRODUCTS and len(variables) == 1:
        kind, variables = "einsum", {"kernel": next(iter(variables.values()))}
    return SourceOperation(kind, operation.name, list(operation.inputs), attributes, variables, tensor)


def _of_transposed(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a graph says of a transposed convolution, in the words for the other convolutions."""
    axes = slice(2, 4) if attributes.get("data_format") == "NCHW" else slice(1, 3)
    named = {"strides": attributes.get("strides"), "dilation": attributes.get("dilations")}
    found = {name: tuple(each[axes]) for name, each in named.items() if isinstance(each, list | tuple)}
    return {**found, "padding": str(attributes.get("padding", "")).lower()}


def _join_bias(found: list[SourceOperation], number: int) -> None:
    """Give a kernel's operation the bias that is added to its output, perhaps behind a reshape."""
    this = found[number]
    if this.attributes.get("class_name") not in _SUMS or len(this.variables) != 1 or len(this.inputs) != 1:
        return
    chain = [this.inputs[0]]
    while found[chain[-1]].kind in _SHAPING and len(found[chain[-1]].inputs) == 1:
        chain.append(found[chain[-1]].inputs[0])
    layer = found[chain[-1]]
    if layer.kind not in _BIASED or "bias" in layer.variables or layer.merged:
        return
    if any(sum(n in other.inputs for other in found) != 1 for n in chain):
        return
    this.kind, this.name, this.inputs = layer.kind, layer.name, list(layer.inputs)
    this.variables = {**layer.variables, "bias": next(iter(this.variables.values()))}
    this.attributes = {**layer.attributes, "use_bias": True}
    layer.merged, layer.variables = True, {}


def _join_token(found: list[SourceOperation], number: int) -> None:
    """Turn the concatenation of a variable, in front, with a sequence into a ``token``, in place."""
    this = found[number]
    if this.kind == "concat" and this.attributes["axis"] == 1 and len(this.inputs) == 2:
        first = found[this.inputs[0]]
        if first.attributes.get("class_name") in _SUMS and len(first.variables) == 1:
            this.kind, this.inputs, this.variables = "token", this.inputs[1:], first.variables
            first.variables = {}
    elif this.attributes.get("class_name") == "ConcatV2" and this.attributes.get("takes") == "wic":
        this.kind = "token"
    if this.kind == "token":
        this.attributes = {}


def image_operation(operations: Sequence[SourceOperation]) -> int:
    """Return the operation that gives the network's images, after the source's preparation of them."""
    prepares: list[bool] = []
    for each in operations:
        is_known = each.kind in _PREPARING or each.attributes.get("class_name") in _PREPARING_CLASSES
        prepares.append(is_known and all(prepares[n] for n in each.inputs))
    place = next(n for n, each in enumerate(operations) if _is_layer(each))
    while not prepares[place]:
        place = operations[place].inputs[0]
    return place


def unstated_preparation(operations: Sequence[SourceOperation], image: int) -> list[str]:
    """Return what prepares the source's images and is no plain scaling, which a table states."""
    needed = {image}
    for number in range(image, -1, -1):
        if number in needed:
            needed.update(operations[number].inputs)
    told = [operations[number] for number in sorted(needed)]
    return [f"{each.name} ({each.kind})" for each in told if each.kind not in ("input", "scale")]


def _is_layer(operation: SourceOperation) -> bool:
    kernels = ("conv", "depthwise_conv", "transposed_conv", "dense", "einsum")
    return operation.kind in kernels and "kernel" in operation.variables


def preparing(operations: Sequence[SourceOperation], image: int) -> Iterator[str]:
    """Yield the key of every variable that only prepares images."""
    needed = {image}
    for number in range(image, -1, -1):
        if number in needed:
            needed.update(operations[number].inputs)
            yield from operations[number].variables.values()
