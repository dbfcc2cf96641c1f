"""A network as it is behind a converter that makes norms part of the convolutions in front of them."""

from __future__ import annotations

from porter.core.stored_network import Operation, StoredNetwork

WEIGHED = ("conv", "depthwise_conv", "dense", "transposed_conv")
NORM = "norm/"
"""What the roles of a norm's variables begin with, where a layer has taken it."""


def folded(network: StoredNetwork) -> StoredNetwork:
    """Return a canonical network without each norm that follows a layer of its own with a kernel.

    The layer keeps its variables and gets those of the norm, under names that begin with ``norm/``.
    """
    operations = network.operations
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
        if operation.kind == "norm" and operations[before].kind in WEIGHED and users[before] == 1:
            place = numbers[before]
            norm = {NORM + role.removeprefix("moving_"): name for role, name in operation.variables.items()}
            kept[place] = kept[place]._replace(variables={**kept[place].variables, **norm})
            numbers.append(place)
            continue
        numbers.append(len(kept))
        kept.append(operation._replace(inputs=tuple(numbers[number] for number in operation.inputs)))
    return network._replace(operations=tuple(kept), outputs=tuple(numbers[n] for n in network.outputs))
