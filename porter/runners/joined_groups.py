"""A grouped convolution that a graph writes out: a split, layers for each group alone, and a concatenation.

Source: the EdgeTPU project's ``GroupConv2D`` of the Model Garden. PyTorch has one layer for all groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from porter.runners.joined_gates import count_takers

if TYPE_CHECKING:
    from porter.runners.graph_operations import SourceOperation

_SPLITS = ("Split", "SplitV")


def role_in(role: str, group: int) -> str:
    """Return the role of a variable of one group: "kernel" of the first, "kernel 1" of the second."""
    return f"{role} {group}" if group else role


def groups_of(operation: SourceOperation) -> list[dict[str, str]]:
    """Return the variables of each group by role; one where an operation has no groups of its own."""
    found: list[dict[str, str]] = [{} for _ in range(1 + len(operation.beside))]
    for name, key in operation.variables.items():
        role, _, group = name.partition(" ")
        found[int(group or 0)][role] = key
    return found


def join_groups(found: list[SourceOperation], unary: Sequence[str]) -> None:
    """Turn the layers of all groups into one of each, in place: the last one, the others are merged.

    Args:
        found: The operations, in order of execution.
        unary: Kinds of activations.
    """
    takers = count_takers(found)
    for end in range(len(found)):
        levels = list(_levels(found, takers, end, (*unary, "norm", "conv")))
        kinds = [found[level[0]].kind for level in levels]
        if len(levels) < 2 or kinds.count("conv") != 1 or not _split(found, levels[-1]):
            continue
        taken = found[levels[-1][0]].inputs
        for level in reversed(levels[:-1]):
            taken = [_join(found, level, taken)]
        found[end].inputs = taken


def _levels(
    found: Sequence[SourceOperation], takers: Sequence[int], end: int, kinds: Sequence[str]
) -> Iterator[list[int]]:
    """Yield the operations of all groups side by side, from a concatenation of channels to the split."""
    this = found[end]
    if this.kind != "concat" or this.attributes["axis"] not in (-1, 3) or len(this.inputs) < 2:
        return
    level = list(this.inputs)
    while True:
        parts = [found[number] for number in level]
        if not all(_alike(part, parts[0]) and len(part.inputs) == 1 for part in parts):
            return
        if any(takers[number] != 1 for number in level):
            return
        yield level
        if parts[0].kind not in kinds:
            return
        level = [part.inputs[0] for part in parts]


def _alike(one: SourceOperation, other: SourceOperation) -> bool:
    known, wanted = ({**each.attributes, "output": 0} for each in (one, other))
    return one.kind == other.kind and known == wanted and one.variables.keys() == other.variables.keys()


def _split(found: Sequence[SourceOperation], level: Sequence[int]) -> bool:
    """Whether these are all parts of one split of channels, in their order."""
    parts = [found[number] for number in level]
    return all(
        part.attributes.get("class_name") in _SPLITS
        and part.attributes.get("output", 0) == place
        and part.attributes.get("num_split") == len(level)
        and part.attributes.get("constants") in ([[-1]], [[3]], [-1], [3])
        and part.inputs == parts[0].inputs
        for place, part in enumerate(parts)
    )


def _join(found: Sequence[SourceOperation], level: Sequence[int], taken: list[int]) -> int:
    """Let the last operation stand for all groups; return its number."""
    last, parts = found[max(level)], [found[number] for number in level]
    variables = {
        role_in(role, group): key for group, part in enumerate(parts) for role, key in part.variables.items()
    }
    tensors = [part.tensor for part in parts]
    for part in parts:
        part.merged, part.variables = True, {}
    last.merged, last.variables, last.inputs = False, variables, list(taken)
    last.tensor, last.beside = tensors[0], tensors[1:]
    if last.kind == "conv":
        last.attributes = {**last.attributes, "groups": len(parts)}
    return max(level)
