"""Layer normalisations and layer scales as one operation each, however a graph spells them."""

from __future__ import annotations

from porter.core.stored_network import Operation, StoredNetwork
from porter.planning.network.layer_norms import JOINED, of_vectors, with_layer_norms
from porter.planning.network.small_maps import GLOBAL_POOLS


def in_one_spelling(network: StoredNetwork) -> StoredNetwork:
    """Return a network whose layer normalisations and layer scales are one operation each.

    Args:
        network: In its canonical form otherwise.
    """
    joined = with_layer_norms(network)
    kept = [number for number, operation in enumerate(joined.operations) if operation.kind != JOINED]
    new = {old: position for position, old in enumerate(kept)}
    operations: list[Operation] = []
    for old in kept:
        operation = _layer_scale(joined.operations[old])
        operation = operation._replace(inputs=tuple(new[taken] for taken in operation.inputs))
        if operation.kind == "layer_norm" and operations[operation.inputs[0]].kind in GLOBAL_POOLS:
            operation = of_vectors(operation)
        operations.append(operation)
    return network._replace(
        operations=tuple(operations), outputs=tuple(new[number] for number in network.outputs)
    )


def _layer_scale(operation: Operation) -> Operation:
    """Read a product with a variable as Keras's LayerScale."""
    if dict(operation.attributes) != {"class_name": "Mul", "takes": "iw"} or len(operation.variables) != 1:
        return operation
    (key,) = operation.variables.values()
    return operation._replace(kind="layer_scale", attributes={}, variables={"gamma": key})
