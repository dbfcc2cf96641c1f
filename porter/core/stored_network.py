"""What a source stores of its network: operations with their attributes, in order of execution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

_RANDOM = "StatelessRandom"
# The class of an operation in a graph that gives an image's channels in the opposite order.
REVERSED_CHANNELS = "reversed channels"


class Operation(NamedTuple):
    """One operation of a stored network, in terms that Keras configs and TensorFlow graphs share.

    The kinds and their attributes, lengths in pixels, axes as (N, H, W, C):

    ======================  ==========================================================================
    input                   shape
    conv, depthwise_conv    kernel (h, w), strides (h, w), padding "same" or "valid", dilation (h, w),
                            groups, use_bias; transposed_conv likewise
    dense                   use_bias
    norm                    epsilon, axes; layer_norm likewise
    relu                    max_value or None, negative_slope, threshold
    sigmoid, softmax, tanh, softplus, swish, hard_sigmoid (slope, offset), hard_swish (slope, offset),
    gelu (approximate), elu (alpha)
    add, subtract, multiply, divide, concat (axis), matmul
    scale                   scale, offset: input * scale + offset, with constants (Rescaling too)
    max_pool, avg_pool      size, strides, padding
    global_max_pool, global_avg_pool (keepdims)
    pad                     amounts ((top, bottom), (left, right)), mode, value
    flatten, reshape (shape), resize (size, interpolation)
    other                   class_name, and whatever the layer's config or the operation's attributes hold
    ======================  ==========================================================================

    Attributes:
        kind: One of the above.
        name: The source's own name of the layer or operation, for messages.
        inputs: Numbers of the operations whose outputs it takes, all smaller than its own.
        attributes: By the names above.
        variables: Checkpoint keys by role: kernel, bias, gamma, beta, mean, variance, or the variable's own
            name.
    """

    kind: str
    name: str
    inputs: tuple[int, ...]
    attributes: Mapping[str, object]
    variables: Mapping[str, str]


def plain_role(role: str) -> str:
    """Return what a variable is, whatever class of layer has it: ``"mean"`` of ``"moving_mean"``."""
    return role.removeprefix("moving_").removeprefix("depthwise_")


def reshaped_to(operation: Operation) -> tuple[int | None, ...] | None:
    """Return the shape that a reshape makes, with or without its batch; None if the source tells none."""
    shape = operation.attributes.get("target_shape", operation.attributes.get("shape"))
    if isinstance(shape, Mapping):
        shape = shape.get("items")
    return tuple(shape) if isinstance(shape, list | tuple) else None


def map_reshaped_to(operation: Operation) -> tuple[int, int, int] | None:
    """Return (H, W, C) of the map that a reshape makes of every image; None if it makes no such map."""
    shape = reshaped_to(operation)
    if operation.kind != "reshape" or shape is None or len(shape) not in (3, 4):
        return None
    height, width, channels = shape[-3:]
    is_map = all(type(length) is int and length > 0 for length in (height, width, channels))
    return (height, width, channels) if is_map else None  # type: ignore[return-value]


def is_that_map(axes: Sequence[object], shape: Sequence[object]) -> bool:
    """Whether images of these axes hold the pixels of a map (H, W, C) in its order.

    They are a vector, or the map without its one channel, or the map itself.

    Example:
        >>> is_that_map((96, 64), (96, 64, 1)), is_that_map((64, 96), (96, 64, 1))
        (True, False)
    """
    without_channel = tuple(shape[:2]) if shape[2] == 1 else None
    return len(axes) == 1 or tuple(axes) in (tuple(shape), without_channel)


def draws_at_random(operation: Operation) -> bool:
    """Whether the weights that it takes are random numbers, as those of Keras 3's augmentation are."""
    weights = operation.attributes.get("weights")
    return isinstance(weights, list) and any(_RANDOM in str(weight) for weight in weights)


class StoredNetwork(NamedTuple):
    """A network as its source describes it.

    Attributes:
        operations: In order of execution.
        outputs: Numbers of the operations that the network returns.
        origin: Where the description stands, for messages: ``"the file's config"``.
        is_graph: Whether it was read from TensorFlow's graph, and not from the layers of a config.
    """

    operations: tuple[Operation, ...]
    outputs: tuple[int, ...]
    origin: str
    is_graph: bool = False


def needed_numbers(operations: Sequence[Operation], outputs: Sequence[int]) -> list[int]:
    """Return the numbers of the operations that some outputs depend on, in order."""
    needed = set(outputs)
    for number in range(len(operations) - 1, -1, -1):
        if number in needed:
            needed.update(operations[number].inputs)
    return sorted(needed)


def needed_part(
    operations: Sequence[Operation], outputs: Sequence[int]
) -> tuple[tuple[Operation, ...], tuple[int, ...]]:
    """Return the operations that some outputs depend on, and the outputs, in numbers of their own."""
    kept = needed_numbers(operations, outputs)
    new = {old: position for position, old in enumerate(kept)}
    part = (operations[old]._replace(inputs=tuple(new[n] for n in operations[old].inputs)) for old in kept)
    return tuple(part), tuple(new[number] for number in outputs)
