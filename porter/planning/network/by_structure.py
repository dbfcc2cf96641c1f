"""Which network a source holds that names no layers: decided by what is computed in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from porter.core.checkpoint import Checkpoint
from porter.core.folded_checkpoint import FoldedCheckpoint
from porter.core.stored_network import StoredNetwork
from porter.errors import PlanError
from porter.planning.fitting import candidates, shape_fits
from porter.planning.network.canonical import canonical
from porter.planning.network.dilation import dilated_forms, note_of
from porter.planning.network.folded_form import folded, with_affine_norms
from porter.planning.network.folded_variables import alike, filled_roles, seen_shape, shared_keys, untaken
from porter.planning.network.layer_pairing import Pairing
from porter.planning.network.naming import named, names_of
from porter.planning.network.record import recorded
from porter.planning.network.same_structure import Structures, paired
from porter.planning.recognition import Recognised
from porter.tables.known_tables import Tables
from porter.tables.variants import Variant

_ROOT = 0
_OTHERS = (
    "{names} computes the same with the same weights: mean and std are those of {name}, unless the source "
    "says more of them"
)


class _Found(NamedTuple):
    match: Recognised
    differences: int


def recognise_by_structure(
    checkpoint: FoldedCheckpoint, tables: Tables, variant: str | None = None
) -> Recognised:
    """Find the one network of `tables` that computes what the source computes.

    Args:
        checkpoint: A source whose norms are part of its convolutions.
        tables: Known networks.
        variant: Try this one only.

    Raises:
        PlanError: no network does, or more than one.
        TableError: `variant` is not known.
    """
    stored = checkpoint.stored_network
    if stored is None:
        raise PlanError("plan/no-network", "its graph is not in a form that is read", file=checkpoint.path)
    source = with_affine_norms(canonical(stored))
    wanted = [tables.variant(variant)] if variant else list(candidates(checkpoint, tables))
    matcher = _Matcher(checkpoint, source)
    forms = [form for each in wanted for form in (each, *dilated_forms(checkpoint, each))]
    found = list(filter(None, map(matcher.match, forms)))
    if not found:
        raise _no_match(checkpoint, variant, len(wanted))
    least = min(each.differences for each in found)
    best = [each.match for each in found if each.differences == least]
    most = max(sum(key is not None for key in match.keys) for match in best)
    best = [match for match in best if sum(key is not None for key in match.keys) == most]
    match = the_one(checkpoint, best)
    see_as_table(checkpoint, match)
    return match._replace(notes=(*match.notes, *note_of(match.variant)))


def see_as_table(checkpoint: FoldedCheckpoint, match: Recognised) -> None:
    """Give each kernel of a match the shape that the table has."""
    for entry, key in zip(match.variant.entries, match.keys, strict=True):
        if key is not None:
            checkpoint.see_as(key, seen_shape(checkpoint.specs[key].shape, entry))


def the_one(checkpoint: Checkpoint, matches: Sequence[Recognised]) -> Recognised:
    """Return the first match if all of them are one network under several names.

    Raises:
        PlanError: they are not (``plan/ambiguous-variant``).
    """
    first, *others = matches
    if any(ported(other) != ported(first) for other in others):
        names = ", ".join(sorted({match.variant.name for match in matches}))
        raise PlanError(
            "plan/ambiguous-variant",
            f"the layers and shapes fit {names} alike",
            file=checkpoint.path,
            hint="Say which one it is with --variant.",
        )
    images = [match.variant.input for match in matches]
    differing = [
        match.variant.name
        for match, spec in zip(matches, images, strict=True)
        if (spec.mean, spec.std) != (images[0].mean, images[0].std)
    ]
    if not differing or checkpoint.stored_input.steps:
        return first
    note = _OTHERS.format(names=", ".join(dict.fromkeys(differing)), name=first.variant.name)
    return first._replace(notes=(note,))


def ported(match: Recognised) -> object:
    """Return what a match comes to: timm's model and the key of each of its tensors."""
    keys = zip(match.variant.entries, match.keys, strict=True)
    tensors = {entry.target: key for entry, key in keys if key is not None}
    return match.variant.target.name, tuple(sorted(tensors.items()))


class _Matcher:
    """Holds one source against many variants."""

    def __init__(self, checkpoint: FoldedCheckpoint, source: StoredNetwork) -> None:
        self._checkpoint, self._source = checkpoint, source
        self._structures = Structures()
        self._ours = self._structures.of(source)

    def match(self, variant: Variant) -> _Found | None:
        """Return the network of a variant, whole or without a head, if the source computes it."""
        network = recorded(variant)
        if network is None:
            return None
        reference = folded(network, like=self._source)
        theirs = self._structures.of(reference)
        ends = [_last(reference)]
        first = [entry for entry in variant.entries if entry.part == variant.parts[0].name]
        if len(first) < len(variant.entries):
            ends.append(_last(reference, {variant.full_source(entry) for entry in first}))
        for end in ends:
            ours = [n for n, number in enumerate(self._ours) if number == theirs[end]]
            pairs = None
            if len(ours) == 1:
                pairs = paired(self._source, reference, (self._ours, theirs), (ours[0], end))
            match = None if pairs is None else self._match(variant, reference, pairs)
            if match is not None:
                return _Found(match, self._differences(match, reference))
        return None

    def _match(
        self, variant: Variant, reference: StoredNetwork, pairs: Mapping[int, int]
    ) -> Recognised | None:
        """Return the match in which paired layers share their variables; None if a shape does not fit."""
        layers = [
            (reference.operations[wanted].variables, self._source.operations[given].variables)
            for wanted, given in pairs.items()
        ]
        if not all(alike(wanted, given) for wanted, given in layers):
            return None
        keys = dict(pair for layer in layers for pair in shared_keys(*layer))
        if any(self._would_lose(key) for layer in layers for key in untaken(*layer) if key in keys.values()):
            return None
        filled = dict(pair for layer in layers for pair in filled_roles(*layer))
        lengths: dict[str, int] = {}
        specs = self._checkpoint.specs
        parts = {entry.part for entry in variant.entries if variant.full_source(entry) in keys}
        for entry in variant.entries:
            path = variant.full_source(entry)
            if path in keys:
                if not shape_fits(seen_shape(specs[keys[path]].shape, entry), entry.source_shape, lengths):
                    return None
            elif entry.part in parts and path not in filled and not entry.folded:
                return None
        return Recognised(
            variant,
            {part.name: _ROOT for part in variant.parts if part.name in parts},
            tuple(keys.get(variant.full_source(entry)) for entry in variant.entries),
            lengths,
            self._checkpoint.graph,
            filled={
                e.target: filled[path] for e in variant.entries if (path := variant.full_source(e)) in filled
            },
        )

    def _would_lose(self, key: str) -> bool:
        """Whether a bias that another layer shares, and takes, adds something here."""
        return bool(np.any(self._checkpoint.read(key)))

    def _differences(self, match: Recognised, reference: StoredNetwork) -> int:
        names = names_of(match)
        pairing = Pairing(named(self._source, names), reference, frozenset(names.values()))
        return len(pairing.differences())


def _last(network: StoredNetwork, names: set[str] | None = None) -> int:
    """Return the last operation that has variables, or some of those that are named."""
    return max(
        number
        for number, operation in enumerate(network.operations)
        if operation.variables and (names is None or names.intersection(operation.variables.values()))
    )


def _no_match(checkpoint: FoldedCheckpoint, variant: str | None, tried: int) -> PlanError:
    layers = sum(spec.shape != () and len(spec.shape) > 1 for spec in checkpoint.specs.values())
    return PlanError(
        "plan/no-match",
        f"its layers are not those of {variant or 'any network that has a record'}",
        file=checkpoint.path,
        found=f"{layers} layers with kernels; {tried} networks were tried",
        hint="porter inspect lists them. A checkpoint of the model may be recognised by its names.",
    )
