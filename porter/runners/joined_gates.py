"""Swish and hard swish in a graph, which writes them out: x sigmoid(x), x relu6(x + 3) / 6.

The constant of the latter may stand behind the gate (Keras) or behind the product (the Model Garden).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from porter.runners.graph_operations import SourceOperation

_SIXTH = 1 / 6
_CLOSE = 1e-6  # constants are stored in float32


class _Gate(NamedTuple):
    """A gated activation: what it takes, its last operation, and the ones between."""

    kind: str
    taken: int
    end: int
    inside: tuple[int, ...]


def count_takers(found: Sequence[SourceOperation]) -> list[int]:
    """Return how often each operation's output is taken."""
    takers = [0] * len(found)
    for operation in found:
        for taken in operation.inputs:
            takers[taken] += 1
    return takers


def join_gates(found: list[SourceOperation]) -> None:
    """Turn every swish and hard swish into one operation, in place: its last one, the others are merged."""
    takers = count_takers(found)
    for end in range(len(found)):
        for gate in _gates(found, end):
            if all(takers[number] == 1 for number in gate.inside):
                found[end].kind, found[end].inputs, found[end].attributes = gate.kind, [gate.taken], {}
                for number in gate.inside:
                    found[number].merged = True
                break


def _gates(found: Sequence[SourceOperation], end: int) -> Iterator[_Gate]:
    operation = found[end]
    if operation.kind == "multiply" and len(operation.inputs) == 2:
        for taken, gate in (operation.inputs, operation.inputs[::-1]):
            if found[gate].kind == "sigmoid" and found[gate].inputs == [taken]:
                yield _Gate("swish", taken, end, (gate,))
            if _scales(found[gate], _SIXTH, 0.0):
                yield from _hard_swish(found, taken, found[gate].inputs[0], end, (gate,))
    elif _scales(operation, _SIXTH, 0.0) and found[operation.inputs[0]].kind == "multiply":
        product = operation.inputs[0]
        for taken, gate in (found[product].inputs, found[product].inputs[::-1]):
            yield from _hard_swish(found, taken, gate, end, (product,))


def _hard_swish(
    found: Sequence[SourceOperation], taken: int, cap: int, end: int, inside: tuple[int, ...]
) -> Iterator[_Gate]:
    relu = found[cap]
    if relu.kind != "relu" or relu.attributes.get("max_value") != 6.0 or relu.attributes["negative_slope"]:
        return
    shift = relu.inputs[0]
    if _scales(found[shift], 1.0, 3.0) and found[shift].inputs == [taken]:
        yield _Gate("hard_swish", taken, end, (shift, cap, *inside))


def _scales(operation: SourceOperation, scale: float, offset: float) -> bool:
    if operation.kind != "scale":
        return False
    attributes = operation.attributes
    return _is(attributes.get("scale"), scale) and _is(attributes.get("offset"), offset)


def _is(given: Any, value: float) -> bool:
    return given is not None and bool(np.all(np.abs(np.subtract(given, value)) < _CLOSE))
