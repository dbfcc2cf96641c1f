"""What an author wants to know of a table: every fault in it, and which rules do not fit a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from porter.core.checkpoint import Checkpoint
from porter.errors import PlanError, PorterError
from porter.networks.definition import parse
from porter.planning.nearest import mismatch
from porter.planning.plan import plan
from porter.tables.known_tables import Tables
from porter.tables.reader import find_faults
from porter.tables.variants import Variant


class Fit(NamedTuple):
    """How a variant and a checkpoint go together.

    Attributes:
        variant: Name of the variant.
        found: How many of the variables that must be there are there with the right shape.
        total: How many must be there.
        faults: One line per rule that does not match, and per variable that no rule takes; none if the
            checkpoint can be ported.
    """

    variant: str
    found: int
    total: int
    faults: tuple[str, ...]


def table_faults(file: Path) -> tuple[list[str], list[Variant]]:
    """Return one line per fault of a table file, and the variants that have none.

    What can be said without TensorFlow and torch is said: whether the PyTorch side has these tensors is a
    matter of `state_dict_faults`.
    """
    faults, variants = find_faults(file)
    lines = [str(fault) for fault in faults]
    for variant in variants:
        if variant.network is not None:
            try:
                parse(variant.network)
            except PorterError as error:
                lines.append(f"{file}: [variant.{variant.name}.network]: {error}")
    return lines, variants


def state_dict_faults(variant: Variant, shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """Return one line per tensor that the PyTorch network has and the table lacks, or the other way round.

    Args:
        variant: The variant; free lengths take their defaults.
        shapes: Shape of every tensor of the network's state dict, by name.
    """
    expected = _targets(variant)
    lines = []
    for name, (block, shape) in expected.items():
        if name not in shapes:
            lines.append(f"{variant.name}: {block}: {variant.target.name} has no tensor {name!r}")
        elif tuple(shapes[name]) != shape:
            found = tuple(shapes[name])
            lines.append(f"{variant.name}: {block}: {name!r}; expected shape {shape}, found {found}")
    missing = [name for name in shapes if name not in expected]
    lines.extend(f"{variant.name}: no rule makes {variant.target.name}'s {name!r}" for name in missing)
    return lines


def fits(variants: Sequence[Variant], checkpoint: Checkpoint) -> list[Fit]:
    """Return how each variant and a checkpoint go together, the best one first."""
    found = [_fit(variant, checkpoint) for variant in variants]
    return sorted(found, key=lambda fit: (bool(fit.faults), -fit.found / max(1, fit.total)))


def _fit(variant: Variant, checkpoint: Checkpoint) -> Fit:
    try:
        port_plan = plan(checkpoint, Tables({variant.name: variant}), variant=variant.name)
    except PlanError as error:
        near = mismatch(checkpoint, variant)
        lines = tuple(f"{rule}: {told}" for rule, told in zip(near.rules, near.reasons, strict=True))
        return Fit(variant.name, near.found, near.total, lines or tuple(str(error).splitlines()))
    count = sum(len(assignment.sources) for assignment in port_plan.assignments)
    return Fit(variant.name, count, count, ())


def _targets(variant: Variant) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the rule and the shape of every target tensor by name."""
    lengths = {free.name: free.default for free in variant.free.values()}
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    for entry in variant.entries:
        if entry.folded:
            continue
        shape = tuple(lengths[dim] if isinstance(dim, str) else dim for dim in entry.target_shape)
        if entry.target in found:
            shape = (found[entry.target][1][0] + shape[0], *shape[1:])
        found[entry.target] = (entry.block, shape)
    for constant in variant.constants:
        shape = tuple(lengths[dim] if isinstance(dim, str) else dim for dim in constant.shape)
        found[constant.target] = ("without", shape)
    found.update((name, ("batch counter", ())) for _, name in variant.counters)
    return found
