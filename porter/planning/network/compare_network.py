"""The network that a source describes against the one of the table: values to adopt, layers that differ."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from porter.core.checkpoint import Checkpoint
from porter.core.folded_checkpoint import FoldedCheckpoint
from porter.core.stored_network import StoredNetwork
from porter.errors import PlanError
from porter.planning.custom_head import backbone_alone
from porter.planning.image_range import ImageRange, image_range
from porter.planning.network.canonical import PREPARED, canonical
from porter.planning.network.findings import NetworkFindings, ending_notes
from porter.planning.network.folded_form import folded, with_affine_norms
from porter.planning.network.layer_pairing import ACTIVATIONS, POOLS, LayerDifference, Pairing, tail, told
from porter.planning.network.naming import named, names_of
from porter.planning.network.record import recorded
from porter.planning.network.small_maps import in_form_of
from porter.planning.recognition import Recognised

_SHOWN = 5
_EPSILONS = ("epsilon", "norm_epsilon", "bn_epsilon")
_UNREAD = "the source's network is not in a form that is read: activations are the table's"
_BY_BATCH = (
    "the source's norms take the statistics of each batch, as in training (Keras 3 exports models with "
    "random layers so): the port takes the stored ones, and the source's network was not compared"
)
_OF_A_BATCH = [0, 1, 2]  # all axes of (N, H, W, C) but the channels
_UNKNOWN = "{name} has no record of its network: the layers in {origin} were not compared with it"
_OWN = "the table's network prepares images by itself, and the source's has no layer that does"
_UNPREPARED = {
    None: f"{_OWN}: mean and std are the table's, and nothing in the source confirms them",
    ImageRange.SCALED: f"{_OWN}: mean and std are the table's, and the size of its first weights agrees",
    ImageRange.PIXELS: _OWN,  # the metadata's images are said elsewhere
}
_HINT = "A table of your own (--table FILE) takes a network that nobody published."
_LEAVING = "--backbone-only leaves out what follows the backbone."


def compare_network(
    checkpoint: Checkpoint, stored: StoredNetwork, match: Recognised, *, own_head: bool = False
) -> NetworkFindings:
    """Hold what the source says of its network against what the table's network computes.

    Args:
        checkpoint: The source, for messages.
        stored: The network that it describes.
        match: The network in it; what it has no keys for is not compared.
        own_head: Whether what follows the backbone is ported as the source has it, its pooling too.

    Raises:
        PlanError: a layer computes something else (``plan/other-network``).
    """
    names = names_of(match)
    source = canonical(stored)
    fixed = {
        key for entry, key in zip(match.variant.entries, match.keys, strict=True) if entry.bn_eps is not None
    }
    epsilons = dict(_epsilons(source, names, fixed))
    reference = recorded(match.variant)
    if reference is not None and isinstance(checkpoint, FoldedCheckpoint):
        source = with_affine_norms(source)
        reference = folded(reference, like=source)
    ours = named(source, names)
    pairing = None if reference is None else Pairing(ours, reference, frozenset(names.values()))
    if reference is None or pairing is None or not pairing.is_complete:
        if pairing is not None and (missing := pairing.missing()):
            raise _other(checkpoint, match, missing, stored.origin)
        line = _UNKNOWN.format(name=match.variant.name, origin=stored.origin) if epsilons else _UNREAD
        line = _BY_BATCH if _normalises_by_batch(stored) else line
        return NetworkFindings(line, epsilons, stored.origin, notes=(line,))
    is_cut = match.cut is not None
    try:
        compared = _Comparison(ours, reference, pairing, is_cut=is_cut)
    except RecursionError:
        return NetworkFindings(_UNREAD, epsilons, stored.origin, notes=(_UNREAD,))
    if compared.differences:
        behind = compared.are_behind(_backbone_names(match))
        raise _other(checkpoint, match, compared.differences, stored.origin, behind=behind)
    count = len({operation.name for operation in stored.operations if operation.kind != "input"})
    line = f"{count} layers as {stored.origin} says"
    several = () if own_head else _several(stored)  # a head has its own
    notes = () if is_cut else (*compared.notes(own_pool=own_head), *several)
    if compared.wants_preparation and not match.variant.has_stand_in:
        notes = (_UNPREPARED[image_range(checkpoint, match.variant, match.variant.input)], *notes)
    return NetworkFindings(
        line, epsilons, stored.origin, compared.classifier_activation, notes, is_compared=True
    )


def computes_backbone(checkpoint: Checkpoint, match: Recognised) -> bool:
    """Whether the backbone of a match is what the source says that it computes."""
    if checkpoint.stored_network is None:
        return False
    try:
        return compare_network(checkpoint, checkpoint.stored_network, backbone_alone(match)).is_compared
    except PlanError:
        return False


def _normalises_by_batch(network: StoredNetwork) -> bool:
    means = (o for o in network.operations if o.attributes.get("class_name") == "Mean")
    return any(o.attributes.get("axes") == _OF_A_BATCH and o.name.endswith("moments") for o in means)


def _several(stored: StoredNetwork) -> Iterator[str]:
    """Say that a model with several outputs becomes a network with one.

    A graph's may be one in two forms, as logits and probabilities: then no layer follows any of them.
    """
    is_told = not stored.is_graph or not _followed(stored).isdisjoint(stored.outputs)
    if len(set(stored.outputs)) > 1 and is_told:
        names = ", ".join(stored.operations[number].name for number in stored.outputs)
        yield (
            f"the source returns {len(stored.outputs)} outputs ({names}), the ported network one "
            "of its own; forward_intermediates of timm's network gives the maps between its blocks"
        )


def _followed(network: StoredNetwork) -> frozenset[int]:
    """Return the operations that a layer with variables depends on."""
    found: set[int] = set()
    for number in range(len(network.operations) - 1, -1, -1):
        operation = network.operations[number]
        if operation.variables or number in found:
            found.update(operation.inputs)
    return frozenset(found)


def _epsilons(
    network: StoredNetwork, names: Mapping[str, str], fixed: Collection[str | None]
) -> Iterator[tuple[str, float]]:
    """Yield the key of each variance with the epsilon that is stated for it.

    What a block of layers states is not meant for those of its norms whose epsilon is fixed.
    """
    for operation in network.operations:
        if operation.kind not in ("norm", "other"):
            continue
        value = next((operation.attributes[name] for name in _EPSILONS if name in operation.attributes), None)
        if not isinstance(value, int | float):
            continue
        for role, key in operation.variables.items():
            is_meant = operation.kind == "norm" or key not in fixed
            if key in names and role.endswith("variance") and is_meant:
                yield key, float(value)


class _Comparison:
    """The differences between a source's network and the table's.

    Attributes:
        differences: Each layer that computes something else.
        classifier_activation: See `NetworkFindings`.
    """

    def __init__(
        self, source: StoredNetwork, reference: StoredNetwork, pairing: Pairing, *, is_cut: bool
    ) -> None:
        self.classifier_activation: str | None = None
        self._pairing = pairing
        last, wanted = pairing.last()
        given = list(tail(source.operations, last))
        self._wanted = list(tail(reference.operations, wanted))
        self._given = [*map(in_form_of, given, self._wanted), *given[len(self._wanted) :]]
        self._last = source.operations[last]
        self.wants_preparation = _prepares(reference) and not _prepares(source)
        found = dict.fromkeys(pairing.differences())
        is_whole = not any(operation.variables for operation in reference.operations[wanted + 1 :])
        if not is_cut:  # what follows a cut is no part of the table's network
            found |= dict.fromkeys(self._classifier() if is_whole else self._features())
        self.differences = tuple(found)
        self._has_classifier = is_whole and not is_cut

    def are_behind(self, backbone: Collection[str]) -> bool:
        """Whether every difference lies behind the backbone, whose variables have these names."""
        return self._has_classifier and not self._pairing.differences(backbone)

    def notes(self, *, own_pool: bool) -> Iterator[str]:
        """Yield what is no reason to refuse a network, and should be known."""
        pool = next((o for o in self._given if o.kind in POOLS), None)
        should = next((o for o in self._wanted if o.kind in POOLS), None)
        if not own_pool and pool is not None and should is not None and pool.kind != should.kind:
            yield (
                f"{pool.name} of the source takes the maximum over the image; the ported network averages "
                "where it pools: forward_features is the same"
            )
        yield from ending_notes(self.classifier_activation)

    def _classifier(self) -> Iterator[LayerDifference]:
        """Take what follows the classifier as its activation."""
        for operation in self._given:
            if operation.kind in ACTIVATIONS and self.classifier_activation is None:
                self.classifier_activation = told(operation)
            elif operation.kind not in ("flatten", "reshape"):
                yield LayerDifference(operation.name, "nothing behind the classifier", operation.kind)

    def _features(self) -> Iterator[LayerDifference]:
        """Compare what follows the backbone's last layer up to where a pool, or another layer, follows."""
        for position, wanted in enumerate(self._wanted):
            if wanted.kind in (*POOLS, "flatten") or wanted.variables:
                return
            given = self._given[position] if position < len(self._given) else None
            if given is None:
                yield LayerDifference(self._last.name, f"{wanted.kind} behind it", "the end of the network")
                return
            if given.kind != wanted.kind or dict(given.attributes) != dict(wanted.attributes):
                yield LayerDifference(given.name, told(wanted), told(given))


def _backbone_names(match: Recognised) -> frozenset[str]:
    backbone = {part.name for part in match.variant.backbone_parts}
    entries = match.variant.entries
    return frozenset(match.variant.full_source(entry) for entry in entries if entry.part in backbone)


def _prepares(network: StoredNetwork) -> bool:
    return any(PREPARED in operation.attributes for operation in network.operations)


def _other(
    checkpoint: Checkpoint,
    match: Recognised,
    differences: tuple[LayerDifference, ...],
    origin: str,
    *,
    behind: bool = False,
) -> PlanError:
    lines = [f"{d.layer}: expected {d.expected}, found {d.found}" for d in differences[:_SHOWN]]
    more = [f"and {len(differences) - _SHOWN} more"] if len(differences) > _SHOWN else []
    return PlanError(
        "plan/other-network",
        f"the names and shapes are those of {match.variant.name}, but {origin} describes another network",
        file=checkpoint.path,
        hint=f"{_HINT} {_LEAVING}" if behind else _HINT,
        details=lines + more,
    )
