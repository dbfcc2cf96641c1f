"""Random weights with which every activation's cap and every ReLU's corner is reached, and so tested."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from porter.core.checkpoint import Array
from porter.runners.graph_operations import SourceOperation

_MOST_ROUNDS, _BEYOND = 4, 1.3


def unreached(
    operations: Sequence[SourceOperation], found: Mapping[int, Array]
) -> Iterator[tuple[str, tuple[int, float]]]:
    """Yield what no value that was run reaches, for a match could not tell whether PyTorch has it.

    Args:
        operations: The source's.
        found: Their outputs by number.

    Yields:
        What it is, in words; the operation before it and the factor by which its values are too small, 0
        where that is not the reason.
    """
    for operation in operations:
        most = operation.attributes.get("max_value")
        taken = operation.inputs[0] if operation.inputs else -1
        if operation.kind != "relu" or taken not in found:
            continue
        largest = float(found[taken].max(initial=0.0))
        if most is not None and largest <= most:
            words = f"no value reaches the cap of {operation.name}, so that it is not tested"
            yield words, (taken, most / max(largest, 1e-3))
        if not (found[taken] < 0).any():
            yield f"no value below zero reaches {operation.name}, so that it is not tested", (taken, 0.0)


def reach(
    weights: dict[str, Array],
    operations: Sequence[SourceOperation],
    run: Callable[[], Mapping[int, Array]],
) -> None:
    """Enlarge one channel of the norms before caps that are not reached, in place.

    Args:
        weights: Random values by key.
        operations: The source's.
        run: Runs the source with `weights`.
    """
    if not any(each.attributes.get("max_value") is not None for each in operations):
        return
    for _ in range(_MOST_ROUNDS):
        found = run()
        enlarged = False
        for _, (number, factor) in unreached(operations, found):
            gamma = operations[number].variables.get("gamma")
            if factor and gamma in weights:
                channel = found[number].reshape(-1, found[number].shape[-1]).max(axis=0).argmax()
                weights[gamma][channel] *= factor * _BEYOND
                enlarged = True
        if not enlarged:
            return
