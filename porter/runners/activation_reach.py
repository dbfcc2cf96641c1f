"""Random weights with which every activation's cap and every ReLU's corner is reached, and so tested."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from porter.core.checkpoint import Array
from porter.runners.graph_operations import SourceOperation
from porter.runners.joined_groups import groups_of

_MOST_ROUNDS, _BEYOND, _LEAST = 4, 1.3, 0.1


def unreached(
    operations: Sequence[SourceOperation], found: Mapping[int, Array]
) -> Iterator[tuple[str, tuple[int, float]]]:
    """Yield what no value that was run reaches, for a match could not tell whether PyTorch has it.

    Args:
        operations: The source's.
        found: Their outputs by number.

    Yields:
        What it is, in words; the operation before it, and by how much one of its values must rise, or fall.
    """
    for operation in operations:
        most = operation.attributes.get("max_value")
        taken = operation.inputs[0] if operation.inputs else -1
        if operation.kind != "relu" or operation.merged or taken not in found:
            continue
        values = found[taken]
        if most is not None and values.max(initial=0.0) <= most:
            words = f"no value reaches the cap of {operation.name}, so that it is not tested"
            yield words, (taken, most - float(values.max(initial=0.0)))
        if not (values < 0).any():
            words = f"no value below zero reaches {operation.name}, so that it is not tested"
            yield words, (taken, -max(float(values.min(initial=np.inf)), _LEAST))


def reach(
    weights: dict[str, Array],
    operations: Sequence[SourceOperation],
    run: Callable[[], Mapping[int, Array]],
) -> None:
    """Shift one channel of the layers before activations whose cap or corner is not reached, in place.

    Args:
        weights: Random values by key.
        operations: The source's.
        run: Runs the source with `weights`.
    """
    if not any(each.kind == "relu" for each in operations):
        return
    for _ in range(_MOST_ROUNDS):
        found = run()
        shifted = [
            _shift(weights, operations, found, number, lack)
            for _, (number, lack) in unreached(operations, found)
        ]
        if not any(shifted):
            return


def _shift(
    weights: Mapping[str, Array],
    operations: Sequence[SourceOperation],
    found: Mapping[int, Array],
    number: int,
    lack: float,
) -> bool:
    """Add to the beta or bias of the channel that is nearest to what it lacks; whether there is one."""
    while operations[number].kind == "scale":  # the + 3 of a hard sigmoid
        number = operations[number].inputs[0]
    keys = [each.get("beta") or each.get("bias") for each in groups_of(operations[number])]
    if not all(key in weights for key in keys) or number not in found:
        return False
    channels = found[number].reshape(-1, found[number].shape[-1])
    channel = channels.max(axis=0).argmax() if lack > 0 else channels.min(axis=0).argmin()
    group, place = divmod(int(channel), channels.shape[1] // len(keys))
    weights[str(keys[group])].reshape(-1)[place] += lack * _BEYOND
    return True
