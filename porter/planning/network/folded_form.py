"""A network as it is behind a converter that makes norms part of the convolutions in front of them."""

from __future__ import annotations

from collections import Counter

from porter.core.stored_network import Operation, StoredNetwork
from porter.planning.network.layer_norms import without_joined

WEIGHED = ("conv", "depthwise_conv", "dense", "transposed_conv")
NORM, SCALE = "norm/", "scale/"
"""What the roles of a norm's variables, and of a layer scale's, begin with, where a layer has taken it."""
_LAYER_SCALE = "layer_scale"


def folded(network: StoredNetwork, like: StoredNetwork | None = None) -> StoredNetwork:
    """Return a canonical network without each norm that follows a layer of its own with a kernel.

    The layer keeps its variables and gets those of the norm, under names that begin with ``norm/``.

    Args:
        network: The network.
        like: What a converter left of one like it. If that has no layer scales, they are part of the layers
            in front of them too, under names that begin with ``scale/``.
    """
    return folding(network, like)[0]


def folding(
    network: StoredNetwork, like: StoredNetwork | None = None
) -> tuple[StoredNetwork, tuple[int, ...]]:
    """Return what `folded` does, and for each operation the number that it has there."""
    operations = network.operations
    keeps_scales = like is None or any(operation.kind == _LAYER_SCALE for operation in like.operations)
    prefixes = {"norm": NORM} if keeps_scales else {"norm": NORM, _LAYER_SCALE: SCALE}
    users = [0] * len(operations)
    for operation in operations:
        for number in operation.inputs:
            users[number] += 1
    for number in network.outputs:
        users[number] += 1
    numbers: list[int] = []
    kept: list[Operation] = []
    for operation in operations:
        before = operation.inputs[0] if operation.inputs else -1
        prefix = prefixes.get(operation.kind)
        if prefix is not None and operations[before].kind in WEIGHED and users[before] == 1:
            place = numbers[before]
            own = {prefix + role.removeprefix("moving_"): name for role, name in operation.variables.items()}
            kept[place] = kept[place]._replace(variables={**kept[place].variables, **own})
            numbers.append(place)
            continue
        numbers.append(len(kept))
        kept.append(operation._replace(inputs=tuple(numbers[number] for number in operation.inputs)))
    outputs = tuple(numbers[number] for number in network.outputs)
    return network._replace(operations=tuple(kept), outputs=outputs), tuple(numbers)


def with_affine_norms(network: StoredNetwork) -> StoredNetwork:
    """Return a canonical network in which a product and a sum with weights are one norm, under its numbers.

    It is what a converter leaves of a norm that no layer can take in: behind an addition, a pool, several
    maps beside one another.
    """
    operations = network.operations
    users = Counter(taken for operation in operations for taken in operation.inputs)
    users.update(network.outputs)
    joined = list(operations)
    for number, operation in enumerate(operations):
        before = operations[operation.inputs[0]] if operation.inputs else operation
        if before.kind == "layer_scale" and users[operation.inputs[0]] == 1 and _adds_weight(operation):
            (beta,) = operation.variables.values()
            variables = {**before.variables, "beta": beta}
            joined[number] = Operation("norm", operation.name, before.inputs, {"axes": (-1,)}, variables)
    return network._replace(operations=tuple(without_joined(joined, network)))


def _adds_weight(operation: Operation) -> bool:
    is_sum = dict(operation.attributes) == {"class_name": "AddV2", "takes": "iw"}
    return is_sum and len(operation.variables) == 1
