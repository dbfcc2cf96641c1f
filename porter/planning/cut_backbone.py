"""A network of which a source has the first part alone, or returns several maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from porter.core.checkpoint import Checkpoint
from porter.core.folded_checkpoint import FoldedCheckpoint
from porter.core.stored_network import StoredNetwork
from porter.errors import PlanError
from porter.planning.custom_head import OWN_HEAD, backbone_alone
from porter.planning.cut_variables import Part, first_part
from porter.planning.fitting import key_below, roots_of, shape_fits
from porter.planning.network.by_structure import ported, the_one
from porter.planning.network.canonical import canonical
from porter.planning.network.common_part import Pairs, common_part
from porter.planning.network.cut_points import CutPoints
from porter.planning.network.dilation import dilated_forms, note_of
from porter.planning.network.folded_form import with_affine_norms
from porter.planning.network.folded_part import FoldedPart
from porter.planning.network.layer_pairing import told
from porter.planning.network.record import recorded
from porter.planning.odd_maps import padded_forms
from porter.planning.recognition import Ending, Recognised
from porter.planning.whole_network import Fitting, keys_of, whole_network
from porter.tables.known_tables import Tables, leading_name
from porter.tables.variants import Variant

_FEWEST_STAGES = 2  # a stem alone is nobody's in particular
_LOGITS = "logits"
_UNTOLD = "the source does not say what it returns: taken for the map {where}, with what follows at once"


class _SharedPart(NamedTuple):
    pairs: Pairs
    keys: Mapping[str, str]  # the source's, by the table's path
    lengths: Mapping[str, int]
    filled: Mapping[str, str] = MappingProxyType({})  # see `Recognised.filled`; by path


class _Found(NamedTuple):
    match: Recognised
    is_named: bool  # whether the variables have the table's paths
    size: int  # how many variables
    stages: int
    ends: tuple[str, ...] = ()  # the source's names of what it ends with, where no module of timm's ends
    operations: int = 0  # how many of the source's are the network's, pools and activations too

    @property
    def extent(self) -> tuple[int, bool, int]:
        """How much of the source it explains."""
        return self.size, self.is_named, self.operations


def cut_backbone(checkpoint: Checkpoint, tables: Tables, variant: str | None) -> Recognised | None:
    """Find the one network of `tables` whose first part a checkpoint holds; None if there is none.

    Args:
        checkpoint: A source that no whole network fits.
        tables: Known networks.
        variant: Try this one only.

    Raises:
        PlanError: several networks begin like this (``plan/ambiguous-variant``), or the source ends where no
            module of timm's does (``plan/cut-inside``).
        TableError: `variant` is not known.
    """
    wanted = [tables.variant(variant)] if variant else list(_candidates(checkpoint, tables))
    stored = checkpoint.stored_network
    source = None if stored is None else canonical(stored)
    if source is not None and isinstance(checkpoint, FoldedCheckpoint):
        source = with_affine_norms(source)
    forms = [
        form for v in wanted for form in (v, *dilated_forms(checkpoint, v), *padded_forms(checkpoint, v))
    ]
    found = [each for v in forms if (each := _first_part(checkpoint, source, v)) is not None]
    if not variant:
        found = [each for each in found if each.stages >= _FEWEST_STAGES]
    if not found:
        return None
    most = max(each.extent for each in found)
    found = [each for each in found if each.extent == most]
    ending = [each for each in found if not each.ends] or found
    best = list({each.match.variant.name: each.match for each in reversed(ending)}.values())[::-1]
    known = {match.variant.name for match in best}
    best = [match for match in best if match.variant.twin is None or match.variant.twin.of not in known]
    if source is not None:  # its epsilons and padding are the source's, whichever table it is
        best = _without_namesakes(checkpoint, best)
    best = _of_one_family(best)
    if len(best) > 1:
        names = ", ".join(sorted(match.variant.name for match in best))
        raise PlanError(
            "plan/ambiguous-variant",
            f"what is there is the first part of {names} alike",
            file=checkpoint.path,
            hint="Say which one it is with --variant.",
        )
    inside = [each.ends for each in ending if each.ends]
    if inside:
        raise PlanError(
            "plan/cut-inside",
            f"{best[0].variant.name} fits as far as it is there, but no module of timm's gives the output of "
            f"{', '.join(inside[0])}",
            file=checkpoint.path,
            hint="End the model at a block, a norm or an activation.",
        )
    return best[0]._replace(notes=(*best[0].notes, *note_of(best[0].variant)))


def _without_namesakes(checkpoint: Checkpoint, matches: list[Recognised]) -> list[Recognised]:
    """Return one match of those that are one network under several names."""
    groups: dict[object, list[Recognised]] = {}
    for match in matches:
        groups.setdefault(ported(match), []).append(match)
    return [the_one(checkpoint, group) for group in groups.values()]


def _of_one_family(matches: list[Recognised]) -> list[Recognised]:
    """Return one of several networks whose first parts are the same modules, which prepare images alike."""
    if any(_what_is_there(match) != _what_is_there(matches[0]) for match in matches):
        return matches
    matches = sorted(matches, key=lambda match: len(match.variant.entries))
    names = ", ".join(match.variant.name for match in matches[1:])
    note = f"what is there is the first part of {names} too, and the same in each"
    return [matches[0]._replace(notes=(*matches[0].notes, note))] if names else matches


def _what_is_there(match: Recognised) -> object:
    variant = match.variant
    pairs = zip(variant.entries, match.keys, strict=True)
    modules = tuple((entry.target, key) for entry, key in pairs if key is not None)
    return variant.table, modules, match.ending and match.ending.cut, variant.input, variant.bn_eps


def with_ending(checkpoint: Checkpoint, match: Recognised, source: StoredNetwork) -> Recognised:
    """Return the match of a whole backbone with where the source leaves it, if modules of timm's end there.

    Args:
        checkpoint: The source.
        match: The network in it.
        source: The source's network in its canonical form, which returns several maps of the backbone, or
            ends before the backbone's own end.
    """
    reference = recorded(match.variant)
    found = None if reference is None else _by_network(checkpoint, source, match.variant, reference)
    backbone = backbone_alone(match)
    if found is None or found.match.keys != backbone.keys or found.match.ending is None:
        return match
    return backbone._replace(ending=found.match.ending)


def without_missing(match: Recognised) -> Variant:
    """Return the variant of a cut match with what is there of its entries and stages alone."""
    variant = match.variant
    listed = zip(variant.entries, match.keys, strict=True)
    there = [e for e, key in listed if key is not None or e.target in match.filled]
    modules = {entry.target.rpartition(".")[0] for entry in there}
    assert match.ending is not None  # noqa: S101 (that is what makes it a cut match)
    own = [stage for stage in variant.stages if stage.name == _LOGITS and OWN_HEAD in match.nodes]
    return replace(
        variant,
        entries=tuple(there),
        counters=tuple(each for each in variant.counters if each[1].rpartition(".")[0] in modules),
        constants=tuple(each for each in variant.constants if each.target.rpartition(".")[0] in modules),
        stages=(*match.ending.stages, *own),
    )


def _candidates(checkpoint: Checkpoint, tables: Tables) -> Iterator[Variant]:
    """Yield the variants whose first kernels are there."""
    leading_names = set(map(leading_name, checkpoint.graph.owners))
    unnamed = isinstance(checkpoint, FoldedCheckpoint) or any(n.anonymous for n in checkpoint.graph.nodes)
    there = {spec.shape for spec in checkpoint.specs.values()}
    for name in tables.variants:
        signature = tables.signatures.get(name)
        if signature is None or (
            (unnamed or not leading_names.isdisjoint(signature.leading_names))
            and all(any(shape_fits(s, wanted, {}) for s in there) for wanted in signature.first)
        ):
            yield tables.variants[name]


def _first_part(checkpoint: Checkpoint, source: StoredNetwork | None, variant: Variant) -> _Found | None:
    reference = recorded(variant)
    if reference is None:
        return None
    if isinstance(checkpoint, FoldedCheckpoint):  # its variables tell nothing
        return None if source is None else _by_network(checkpoint, source, variant, reference)
    whole = whole_network(checkpoint, variant)
    if whole is not None:
        return _Found(whole, is_named=False, size=len(whole.keys), stages=len(variant.stages))
    found = None if source is None else _by_network(checkpoint, source, variant, reference)
    return found or _by_variables(checkpoint, variant, reference)


def _by_network(
    checkpoint: Checkpoint, source: StoredNetwork, variant: Variant, reference: StoredNetwork
) -> _Found | None:
    """Find the part by what the source computes, whatever follows it."""
    first = {variant.full_source(e) for e in variant.entries if e.part == variant.parts[0].name}
    there = _shared_part(checkpoint, source, variant, reference)
    keys = {name: key for name, key in there.keys.items() if name in first}
    if not keys:
        return None
    filled = {name: role for name, role in there.filled.items() if name in first}
    points = CutPoints(variant, reference)
    closure = points.closure({*keys, *filled})
    maps = closure - points.vectors(closure)  # a head of its own may begin with a pool
    pairs = {n: there.pairs[n] for n in sorted(maps) if n in there.pairs}
    exits = list(_exits(source, pairs))
    cut = points.cut([number for number, _ in exits], [name for _, name in exits])
    is_less = cut is None or not _is_most(source, pairs)
    if is_less and isinstance(checkpoint, FoldedCheckpoint) and _tail(source, pairs):
        return None  # another network, which begins like this one
    listed = tuple(keys.get(variant.full_source(entry)) for entry in variant.entries)
    named = _node(checkpoint, variant, listed)
    node = 0 if named is None else named
    stages = points.stages(pairs)
    outputs = tuple(pairs[n][0] for n, _ in exits)
    ending = None
    if cut is not None:
        if not note_of(variant):  # of a dilated network timm counts others
            cut = cut._replace(timm_indices=points.timm_indices(cut))
        ending = Ending(cut, stages, outputs, _tail(source, pairs))
    ends = () if cut is not None else tuple(name for _, name in exits)
    nodes = {variant.parts[0].name: node}
    targets = {e.target: filled[path] for e in variant.entries if (path := variant.full_source(e)) in filled}
    match = Recognised(variant, nodes, listed, there.lengths, checkpoint.graph, filled=targets, ending=ending)
    return _Found(match, named is not None, len(keys), len(stages), ends, len(pairs))


def _shared_part(
    checkpoint: Checkpoint, source: StoredNetwork, variant: Variant, reference: StoredNetwork
) -> _SharedPart:
    """Return how far a source computes what the table's network does."""
    entries = {variant.full_source(entry): entry for entry in variant.entries}
    if isinstance(checkpoint, FoldedCheckpoint):
        part = FoldedPart(checkpoint, source, reference, entries)
        return _SharedPart(part.pairs, part.keys, part.lengths, part.filled)
    lengths: dict[str, int] = {}
    pairs = common_part(source, reference, Fitting(checkpoint, entries, lengths).fits)
    return _SharedPart(pairs, dict(keys_of(source, reference, pairs)), lengths)


def _exits(source: StoredNetwork, pairs: Pairs) -> Iterator[tuple[int, str]]:
    """Yield the operations of the reference that the source returns, or goes on from, with its own names."""
    owners = {each: number for number, found in pairs.items() for each in found}
    returned = [(owners[n], source.operations[n].name) for n in source.outputs if n in owners]
    if len(returned) == len(source.outputs):
        yield from returned
        return
    exits: dict[int, str] = {}
    for number, operation in enumerate(source.operations):
        if number not in owners:
            exits |= {owners[n]: source.operations[n].name for n in operation.inputs if n in owners}
    learned = {number for number, found in pairs.items() if _is_learned(source, found[0])}
    yield from sorted((n, name) for n, name in (exits | dict(returned)).items() if n in learned)


def _tail(source: StoredNetwork, pairs: Pairs) -> str:
    """Return the first operation that goes on from the network, in words; "" if nothing does."""
    owned = {each for found in pairs.values() for each in found}
    if all(number in owned for number in source.outputs):
        return ""
    following = (
        told(operation)
        for number, operation in enumerate(source.operations)
        if number not in owned and any(taken in owned for taken in operation.inputs)
    )
    return next(following, "")


def _is_most(source: StoredNetwork, pairs: Pairs) -> bool:
    """Whether at least as many layers with variables are the network's as follow it."""
    owned = {each for found in pairs.values() for each in found}
    layers = [number in owned for number, operation in enumerate(source.operations) if operation.variables]
    return 2 * sum(layers) >= len(layers)


def _is_learned(source: StoredNetwork, number: int) -> bool:
    operation = source.operations[number]
    return bool(operation.variables) or any(_is_learned(source, taken) for taken in operation.inputs[:1])


def _node(checkpoint: Checkpoint, variant: Variant, keys: Sequence[str | None]) -> int | None:
    """Return the node below which the variables have the table's paths."""
    there = [(e, key) for e, key in zip(variant.entries, keys, strict=True) if key is not None]
    for node in roots_of(checkpoint.graph, [entry for entry, _ in there[:1]]):
        if all(key_below(checkpoint.graph, entry.source, node) == key for entry, key in there):
            return node
    return None


def _by_variables(checkpoint: Checkpoint, variant: Variant, reference: StoredNetwork) -> _Found | None:
    """Find the part by which variables are there: the network's first, and no others below their node."""
    part = first_part(checkpoint, variant)
    if part is None:
        return None
    points = CutPoints(variant, reference)
    names = _names(variant, part)
    closure = points.closure(names)
    end = points.end(closure)
    reached = {name for n in closure for name in reference.operations[n].variables.values()}
    cut = points.cut([end], []) if end is not None and reached == names else None
    if cut is None:
        return None
    note = _UNTOLD.format(where=cut.words)
    cut = cut._replace(timm_indices=points.timm_indices(cut))
    ending = Ending(cut, points.stages(closure))
    nodes = {variant.parts[0].name: part.node}
    match = Recognised(variant, nodes, part.keys, part.lengths, part.graph, notes=(note,), ending=ending)
    return _Found(match, is_named=True, size=len(names), stages=len(ending.stages))


def _names(variant: Variant, part: Part) -> frozenset[str]:
    there = zip(variant.entries, part.keys, strict=True)
    return frozenset(variant.full_source(entry) for entry, key in there if key is not None)
