"""The first layers of a network, found by the names and shapes of variables alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from porter.core.checkpoint import Checkpoint
from porter.core.object_graph import ObjectGraph
from porter.planning.arrangement import arranged
from porter.planning.fitting import (
    faults_of,
    key_below,
    left_out_paths,
    required_entries,
    roots_of,
    sources_of,
    tells_only_an_order,
)
from porter.tables.variants import Entry, Variant

_LAYER = "layer_with_weights-"


class Part(NamedTuple):
    """The first layers of a network in a checkpoint.

    Attributes:
        node: The object that has them.
        keys: Checkpoint key of each entry of the variant, in order; None for what is not there.
        lengths: Lengths that the checkpoint decided, by name.
        graph: What `node` is a number in.
    """

    node: int
    keys: tuple[str | None, ...]
    lengths: Mapping[str, int]
    graph: ObjectGraph


def first_part(checkpoint: Checkpoint, variant: Variant) -> Part | None:
    """Find the first layers of a variant where a node has these and no other layers; None if none has.

    Args:
        checkpoint: The source.
        variant: A network of Keras's, its layers numbered in their order.
    """
    layers = list(_layers(variant))
    if not layers:
        return None
    if tells_only_an_order(checkpoint):
        return next(_of_order(checkpoint, variant, layers), None)
    found = (_of_node(checkpoint, variant, layers, n) for n in roots_of(checkpoint.graph, layers[0]))
    return next((part for part in found if part is not None), None)


def _layers(variant: Variant) -> Iterator[list[Entry]]:
    """Yield the entries of each layer, in order; nothing for a network whose layers have other names."""
    groups: dict[str, list[Entry]] = {}
    for entry in required_entries(variant):
        groups.setdefault(entry.source.partition("/")[0], []).append(entry)
    if all(_number(edge) is not None for edge in groups):
        yield from (groups[edge] for edge in sorted(groups, key=lambda edge: _number(edge) or 0))


def _number(edge: str) -> int | None:
    rest = edge.removeprefix(_LAYER)
    return int(rest) if rest != edge and rest.isdecimal() else None


def _of_node(
    checkpoint: Checkpoint, variant: Variant, layers: Sequence[list[Entry]], node: int
) -> Part | None:
    lengths: dict[str, int] = {}
    there: list[Entry] = []
    for layer in layers:
        if next(faults_of(checkpoint, layer, node, lengths), None) is not None:
            break
        there += layer
    graph = checkpoint.graph
    used = {entry.source.partition("/")[0] for entry in there}
    used |= {path.partition("/")[0] for path, _ in variant.left_out}
    others = [edge for edge in graph.nodes[node].children if _number(edge) is not None and edge not in used]
    if not there or others:
        return None
    kept = set(map(id, there))
    keys = (key_below(graph, e.source, node) if id(e) in kept else None for e in variant.entries)
    return Part(node, tuple(keys), lengths, graph)


def _of_order(checkpoint: Checkpoint, variant: Variant, layers: Sequence[list[Entry]]) -> Iterator[Part]:
    """Yield the part for every number of layers that uses all that a node holds."""
    left_out = left_out_paths(variant)
    for number, node in enumerate(checkpoint.graph.nodes):
        count = len(node.anonymous)
        for layer_count in {count, count - len(left_out)} & {*range(1, len(layers) + 1)} if count else ():
            there = [entry for layer in layers[:layer_count] for entry in layer]
            seen = arranged(checkpoint, sources_of(there) | left_out)
            part = _of_node(seen, variant, layers, number)
            if part is not None and sum(key is not None for key in part.keys) == len(there):
                yield part
