"""Which network is in a checkpoint, and where: decided by names and shapes, never by a file's name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from porter.core.checkpoint import Checkpoint
from porter.core.cut import Cut
from porter.core.object_graph import ObjectGraph
from porter.errors import PlanError
from porter.planning.fitting import (
    faults_of,
    key_below,
    required_entries,
    roots_of,
    shape_fits,
    shapes_at,
    starts_of,
    tells_only_an_order,
    with_edges_of,
)
from porter.planning.stored_images import normalizations, stored_images
from porter.tables.known_tables import Signature, Tables
from porter.tables.variants import Stage, Twin, Variant


class Ending(NamedTuple):
    """The end of a network that is not its own end.

    Attributes:
        cut: The same in PyTorch.
        stages: The stages that are there as a whole.
        exits: Numbers of the operations of the source, in its canonical form, that it ends with; nothing if
            it does not tell.
        tail: What follows them in the source and is no part of the network, in words; "" if nothing does.
    """

    cut: Cut
    stages: tuple[Stage, ...]
    exits: tuple[int, ...] = ()
    tail: str = ""


class Recognised(NamedTuple):
    """A variant whose every rule found its variable.

    Attributes:
        variant: The network.
        nodes: Object graph node of each part that is there.
        keys: Checkpoint key of each entry of the variant, in order; None for a part that is not there.
        lengths: Lengths that the checkpoint decided, by name.
        graph: What `nodes` are numbers in: the checkpoint's graph, with edges for what it does not name.
        twins: Variants that fit alike and were passed over, because a table or the names of layers say that
            this one is meant.
        filled: Role of each variable that the source has no values for, by target: norms that are part of the
            convolutions in front of them come back as norms that change nothing.
        notes: What a person should know of the choice.
        ending: Where the network ends, if that is before its own end or in several places; then some entries
            have no key.
    """

    variant: Variant
    nodes: Mapping[str, int]
    keys: tuple[str | None, ...]
    lengths: Mapping[str, int]
    graph: ObjectGraph
    twins: tuple[Variant, ...] = ()
    filled: Mapping[str, str] = MappingProxyType({})
    notes: tuple[str, ...] = ()
    ending: Ending | None = None

    @property
    def cut(self) -> Cut | None:
        """Where the network ends in PyTorch, if that is not its own end."""
        return None if self.ending is None else self.ending.cut


def recognise(checkpoint: Checkpoint, tables: Tables, variant: str | None = None) -> Recognised:
    """Find the one network of `tables` that the checkpoint holds.

    Args:
        checkpoint: The source.
        tables: Known networks.
        variant: Try this one only; needed if two networks have the same names and shapes.

    Raises:
        PlanError: no network fits, another than `variant` does, more than one does, or one is there twice.
        TableError: `variant` is not known.
    """
    wanted = [tables.variant(variant)] if variant else list(_candidates(checkpoint, tables))
    matches = _found(checkpoint, wanted)
    if not matches:
        raise _nothing_fits(checkpoint, tables, wanted[0] if variant else None)
    matches = _without_twins(matches)
    if len({match.variant.name for match in matches}) > 1:
        names = ", ".join(sorted({match.variant.name for match in matches}))
        raise PlanError(
            "plan/ambiguous-variant",
            f"the names and shapes fit {names} alike",
            file=checkpoint.path,
            hint="Say which one it is with --variant.",
        )
    if len(matches) > 1:
        places = ", ".join(sorted(_place(match) for match in matches))
        raise PlanError(
            "plan/several-networks",
            f"{matches[0].variant.name} is there {len(matches)} times: at {places}",
            file=checkpoint.path,
            hint="Save the one you want by itself.",
        )
    return matches[0]


def _nothing_fits(checkpoint: Checkpoint, tables: Tables, wanted: Variant | None) -> PlanError:
    from porter.planning.nearest import nearest, no_match  # noqa: PLC0415  (of refusals alone)

    if wanted is None:
        return no_match(checkpoint, list(nearest(checkpoint, tables)), known=_any_of(tables))
    _refuse_other(checkpoint, wanted, _found(checkpoint, _candidates(checkpoint, tables)))
    return no_match(checkpoint, [wanted], known=wanted.name)


def _found(checkpoint: Checkpoint, candidates: Iterable[Variant]) -> list[Recognised]:
    matches = _most_complete([match for candidate in candidates for match in _matches(checkpoint, candidate)])
    return _with_the_same_front(checkpoint, matches) if len(matches) > 1 else matches


def _refuse_other(checkpoint: Checkpoint, wanted: Variant, there: list[Recognised]) -> None:
    """Say which network the checkpoint holds, if that is known."""
    if there:
        names = " or ".join(sorted({match.variant.name for match in _without_twins(there)}))
        raise PlanError(
            "plan/other-network",
            f"its names and shapes are those of {names}",
            file=checkpoint.path,
            expected=wanted.name,
            hint="Leave --variant out, or look for the checkpoint that was meant.",
        )


def _without_twins(matches: list[Recognised]) -> list[Recognised]:
    """Pass over one of a network and its twin if both fit; the other's match names it if it is possible."""
    named = {match.variant.name: match for match in matches}
    left: dict[str, dict[str, Variant]] = {}
    for match in matches:
        twin = match.variant.twin
        original = None if twin is None else named.get(twin.of)
        if twin is None or original is None:
            continue
        says = _says_twin(match, twin)
        chosen, other = (match, original) if says else (original, match)
        left.setdefault(other.variant.name, {})
        if says is not False:
            left.setdefault(chosen.variant.name, {})[other.variant.name] = other.variant
    kept = [match for match in matches if left.get(match.variant.name) != {}]
    return [match._replace(twins=tuple(left.get(match.variant.name, {}).values())) for match in kept]


def _says_twin(match: Recognised, twin: Twin) -> bool | None:
    """Whether a source is a twin by the names of its layers; None if nothing says so.

    Without names, one that has no classifier is: the network that the twin is of has one.
    """
    if not twin.layer:
        return None
    names = [node.full_name for node in match.graph.nodes if node.full_name]
    if any(twin.layer in name for name in names):
        return False
    has_head = len(match.nodes) > len(match.variant.backbone_parts)
    return True if not has_head or any(twin.beside in name for name in names) else None


def _most_complete(matches: list[Recognised]) -> list[Recognised]:
    """Leave out what takes some of another match's variables and no others: a network without its biases.

    What a table leaves out on purpose counts as taken. What takes the same variables is one network that the
    file names twice; the first place stands for it.
    """
    matches = list({(match.variant.name, match.keys): match for match in reversed(matches)}.values())[::-1]
    taken = [frozenset(key for key in match.keys if key is not None) for match in matches]
    whole = [keys | left_out_keys(match).keys() for match, keys in zip(matches, taken, strict=True)]
    return [
        match for match, keys in zip(matches, whole, strict=True) if not any(keys < more for more in whole)
    ]


def _with_the_same_front(checkpoint: Checkpoint, matches: list[Recognised]) -> list[Recognised]:
    """Of networks with the same variables, leave those that prepare images or do not, as the source does.

    Keras's EfficientNet has a Normalization in front, and the package that it came from has none.
    """
    images = stored_images(checkpoint)
    is_prepared = bool(images.steps or images.unread or normalizations(matches[0].graph))
    taken = [frozenset(match.keys) for match in matches]
    fits = [bool(match.variant.left_out) == is_prepared for match in matches]
    fronted = {keys for keys, fit in zip(taken, fits, strict=True) if fit}
    return [
        match for match, keys, fit in zip(matches, taken, fits, strict=True) if fit or keys not in fronted
    ]


def left_out_keys(match: Recognised) -> dict[str, str]:
    """Return the table's reason, by key, for every variable below an object that it leaves out."""
    graph, variant = match.graph, match.variant
    found = {}
    for path, reason in variant.left_out:
        node = graph.resolve(path, match.nodes[variant.parts[0].name])
        for inner in () if node is None else graph.reachable(node):
            if (key := graph.nodes[inner].key) is not None:
                found[key] = reason
    return found


def _candidates(checkpoint: Checkpoint, tables: Tables) -> Iterator[Variant]:
    """Yield the variants that the checkpoint may hold, as far as a few of their variables tell."""
    if tells_only_an_order(checkpoint):
        there = {spec.shape for spec in checkpoint.specs.values()}
        may_hold = partial(_has_shapes, there)
    else:
        may_hold = partial(_has_variables, checkpoint, {})
    for name in tables.variants:
        signature = tables.signatures.get(name)
        if signature is None or may_hold(signature):
            yield tables.variants[name]


def _has_shapes(there: set[tuple[int, ...]], signature: Signature) -> bool:
    """Whether every shape of the signature is there: all that can be said before names are found."""
    return all(any(shape_fits(shape, wanted, {}) for shape in there) for _, wanted in signature.pairs)


def _has_variables(
    checkpoint: Checkpoint, known: dict[str, dict[int, tuple[int, ...]]], signature: Signature
) -> bool:
    """Whether a node has all of the signature below it; `known` keeps the shapes below each node by path."""
    for path, _ in signature.pairs:
        if path not in known:
            known[path] = dict(shapes_at(checkpoint, path))
    first, _ = signature.pairs[0]
    return any(
        all(
            node in known[path] and shape_fits(known[path][node], shape, {})
            for path, shape in signature.pairs
        )
        for node in known[first]
    )


def _matches(checkpoint: Checkpoint, variant: Variant) -> Iterator[Recognised]:
    required = required_entries(variant)
    checkpoint = with_edges_of(variant, checkpoint)
    graph = checkpoint.graph
    first = variant.parts[0]
    for node in roots_of(graph, required[:1]):
        lengths: dict[str, int] = {}
        if next(faults_of(checkpoint, required, node, lengths), None) is None:
            nodes = {first.name: node} | _optional_parts(checkpoint, variant, node, lengths)
            keys = tuple(
                key_below(graph, entry.source, nodes[entry.part]) if entry.part in nodes else None
                for entry in variant.entries
            )
            yield Recognised(variant, nodes, keys, lengths, graph)


def _optional_parts(
    checkpoint: Checkpoint, variant: Variant, first_node: int, lengths: dict[str, int]
) -> dict[str, int]:
    """Find the other parts below a model whose first part is exactly the node that matched."""
    graph = checkpoint.graph
    found: dict[str, int] = {}
    path = variant.parts[0].path
    for model in starts_of(graph, [path]) if path else [first_node]:
        if graph.resolve(path, model) == first_node:
            for part in variant.parts[1:]:
                node = graph.resolve(part.path, model)
                entries = [entry for entry in variant.entries if entry.part == part.name]
                if node is not None and next(faults_of(checkpoint, entries, node, lengths), None) is None:
                    found[part.name] = node
    return found


def _place(match: Recognised) -> str:
    node = match.nodes[match.variant.parts[0].name]
    return repr(match.graph.paths[node] or "the root")


def _any_of(tables: Tables) -> str:
    names = list(tables.variants)
    return names[0] if len(names) == 1 else f"any of the {len(names)} known networks"
