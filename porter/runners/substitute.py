"""Lets one TensorFlow network stand in for another that computes the same under other names.

The first TensorFlow implementation of a network needs a TensorFlow that nobody installs any more. A later one
is proved equal to the same PyTorch network, so its variables are found through PyTorch's names: both tables
lead to them.
"""

from __future__ import annotations

from collections.abc import Mapping

from porter.core.checkpoint import Array
from porter.errors import TableError
from porter.tables.shipped import load_tables
from porter.tables.variants import Entry, Stage, Variant


def network_of(variant: Variant) -> Variant:
    """Return the variant whose TensorFlow network is built for `variant`: itself, or the one that stands in.

    Raises:
        TableError: the one that stands in makes other PyTorch tensors, or is compared at other stages.
    """
    if not variant.has_stand_in:
        return variant
    other = load_tables().variant(str(variant.source.arguments["variant"]))
    targets = [{(e.target, e.target_shape, e.scale) for e in each.entries} for each in (variant, other)]
    stages = [[stage.name for stage in each.stages] for each in (variant, other)]
    if targets[0] != targets[1] or stages[0] != stages[1] or any(map(_is_computed, other.entries)):
        raise TableError(
            "table/stand-in", f"{other.name} cannot stand in for {variant.name}", file=variant.table
        )
    return other


def _is_computed(entry: Entry) -> bool:
    return entry.join or entry.folded


def carry(values: Mapping[str, Array], variant: Variant, other: Variant) -> dict[str, Array]:
    """Return the values, by object path of `variant`, under the object paths of the network `other`."""
    if other is variant:
        return dict(values)
    paths = {entry.target: (other.full_source(entry), entry) for entry in other.entries}
    carried = {}
    for entry in variant.entries:
        path, there = paths[entry.target]
        if (value := values.get(variant.full_source(entry))) is not None:
            carried[path] = _converted(value, entry, there)
    return carried


def _converted(value: Array, here: Entry, there: Entry) -> Array:
    if here.layout == there.layout:
        return value
    layout = there.layout
    names = zip(layout.source, there.source_shape, strict=True)
    lengths = {group[0]: dim for group, dim in names if len(group) == 1 and isinstance(dim, int)}
    return layout.inverse.apply(here.layout.apply(value), **lengths)


def stages_of(stages: tuple[Stage, ...], other: Variant) -> tuple[Stage, ...]:
    """Return stages with the sources that they have in the network `other`."""
    sources = {stage.name: stage.source for stage in other.stages}
    return tuple(stage._replace(source=sources[stage.name]) for stage in stages)
