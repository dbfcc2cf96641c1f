"""Hard sigmoids whose shift the converter has made part of the layer in front of them.

relu6(x + 3) / 6 behind a convolution becomes relu6(convolution with a bias larger by 3) / 6.
"""

from __future__ import annotations

import math
from collections import Counter

from porter.core.stored_network import Operation, StoredNetwork

SHIFT = 3.0
"""What such a bias is too large by."""

_SIX = 6.0
_CLOSE = 1e-6
_WEIGHED = ("conv", "depthwise_conv", "dense")
_HARD = {"slope": 1 / 6, "offset": 0.5}


def unshifted(network: StoredNetwork) -> tuple[StoredNetwork, frozenset[str]]:
    """Return the network with its hard sigmoids, and the keys of the biases in front of them.

    A layer that others look at too is left as it is: then the shift was not made part of it.
    """
    operations = network.operations
    users = Counter(number for operation in operations for number in operation.inputs)
    users.update(network.outputs)
    numbers: list[int] = []
    kept: list[Operation] = []
    biases: set[str] = set()
    for operation in operations:
        layer = _gated_layer(operations, operation, users)
        if layer is not None:
            biases.add(operations[layer].variables["bias"])
            operation = operation._replace(kind="hard_sigmoid", attributes=_HARD, inputs=(layer,))  # noqa: PLW2901
        numbers.append(len(kept))
        kept.append(operation._replace(inputs=tuple(numbers[number] for number in operation.inputs)))
    ends = tuple(numbers[number] for number in network.outputs)
    return network._replace(operations=tuple(kept), outputs=ends), frozenset(biases)


def _gated_layer(operations: tuple[Operation, ...], operation: Operation, users: Counter[int]) -> int | None:
    """Return the layer in front of relu6 and a sixth, if this operation is that sixth."""
    if operation.kind != "scale" or not _is(operation.attributes["scale"], 1 / _SIX):
        return None
    (gate,) = operation.inputs
    relu = operations[gate]
    if relu.kind != "relu" or relu.attributes["max_value"] != _SIX or users[gate] != 1:
        return None
    (layer,) = relu.inputs
    found = operations[layer]
    is_own = users[layer] == 1 and found.kind in _WEIGHED and "bias" in found.variables
    return layer if is_own and _is(operation.attributes["offset"], 0.0) else None


def _is(value: object, wanted: float) -> bool:
    return isinstance(value, float) and math.isclose(value, wanted, rel_tol=_CLOSE, abs_tol=_CLOSE)
