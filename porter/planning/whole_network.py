"""All of a network found by what a source computes, where its variables have no names that tell.

A frozen graph keeps no objects: its variables are numbered by the layers that read them, as Keras counts
layers. The Model Garden nests layers in blocks, and no path of its tables is there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from porter.core.checkpoint import Checkpoint
from porter.core.stored_network import Operation, StoredNetwork, plain_role
from porter.planning.fitting import candidates, shape_fits
from porter.planning.network.canonical import canonical
from porter.planning.network.common_part import Pairs, common_part
from porter.planning.network.compare_network import computes_backbone
from porter.planning.network.record import recorded
from porter.planning.recognition import Recognised
from porter.tables.known_tables import Tables
from porter.tables.variants import Entry, Variant

_ROOT = 0
_OTHERS = (
    "{names} computes the same with the same weights, and a frozen graph does not say which of them it was: "
    "mean and std are those of {name} (--variant chooses), unless the source says more of them"
)


class Fitting:
    """Whether the variables of two operations may be the same.

    Args:
        checkpoint: The source.
        entries: What the table knows of each variable, by its path.
        lengths: Lengths that the source decides, which are added as they are met.
    """

    def __init__(self, checkpoint: Checkpoint, entries: Mapping[str, Entry], lengths: dict[str, int]) -> None:
        self._checkpoint, self._entries, self._lengths = checkpoint, entries, lengths

    def fits(self, wanted: Operation, given: Operation) -> bool:
        """Whether all variables of the reference's operation are there, with its shapes."""
        keys = _shared(wanted, given)
        return keys is not None and all(self._fits(name, key) for name, key in keys.items())

    def _fits(self, name: str, key: str) -> bool:
        entry, spec = self._entries.get(name), self._checkpoint.specs.get(key)
        return (
            entry is not None
            and spec is not None
            and shape_fits(spec.shape, entry.source_shape, self._lengths)
        )


def _shared(wanted: Operation, given: Operation) -> dict[str, str] | None:
    """Return the key of each variable of the reference's operation; None if the source's has others.

    What a graph writes out has no names for its variables: an only one is the other's only one.
    """
    names, keys = ({plain_role(r): v for r, v in each.variables.items()} for each in (wanted, given))
    if wanted.kind == "other" and len(names) == len(keys) == 1:
        return {next(iter(names.values())): next(iter(keys.values()))}
    return {name: keys[role] for role, name in names.items()} if names.keys() == keys.keys() else None


def keys_of(source: StoredNetwork, reference: StoredNetwork, pairs: Pairs) -> Iterator[tuple[str, str]]:
    """Yield the table's path and the source's key of each variable that is there."""
    for number, found in pairs.items():
        yield from (_shared(reference.operations[number], source.operations[found[0]]) or {}).items()


def whole_network(checkpoint: Checkpoint, variant: Variant) -> Recognised | None:
    """Return the match of a source that computes all of a network; None if it does not, or returns more.

    Args:
        checkpoint: A source; one that carries no network computes nothing.
        variant: The network.
    """
    reference = recorded(variant)
    if checkpoint.stored_network is None or reference is None:
        return None
    source = canonical(checkpoint.stored_network)
    entries = {variant.full_source(entry): entry for entry in variant.entries}
    if len(set(source.outputs)) > 1:
        return None
    lengths: dict[str, int] = {}
    pairs = common_part(source, reference, Fitting(checkpoint, entries, lengths).fits)
    keys = dict(keys_of(source, reference, pairs))
    if keys.keys() != entries.keys() or not _holds_no_more(source, set(keys.values())):
        return None
    nodes = {part.name: _ROOT for part in variant.parts}
    listed = tuple(keys[variant.full_source(entry)] for entry in variant.entries)
    return Recognised(variant, nodes, listed, lengths, checkpoint.graph)


def _holds_no_more(source: StoredNetwork, keys: Collection[str]) -> bool:
    """Whether a source has no other variables: what goes on behind a network is not that network."""
    return all(key in keys for operation in source.operations for key in operation.variables.values())


def settled(checkpoint: Checkpoint, tables: Tables, match: Recognised) -> Recognised:
    """Return the network that a frozen graph computes, with a note of its equals for other images.

    Args:
        checkpoint: A source whose layers porter numbered, so that their order fits what Keras counts alike.
        tables: Known networks.
        match: What the numbers fit.
    """
    own, others = match.variant, list(_computed(checkpoint, tables))
    if len(others) == 1 and not computes_backbone(checkpoint, match):
        return others[0]
    names = [
        other.variant.name
        for other in others
        if other.variant.target.name == own.target.name
        and (other.variant.input.mean, other.variant.input.std) != (own.input.mean, own.input.std)
    ]
    if not names or checkpoint.stored_input.steps:
        return match
    return match._replace(notes=(*match.notes, _OTHERS.format(names=", ".join(names), name=own.name)))


def _computed(checkpoint: Checkpoint, tables: Tables) -> Iterator[Recognised]:
    """Return every network of the tables that a source computes."""
    found = (whole_network(checkpoint, variant) for variant in candidates(checkpoint, tables))
    return (match for match in found if match is not None)
