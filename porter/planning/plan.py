"""A plan: every assignment of one checkpoint, closed or refused before a byte is moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from porter.checkpoints import open_checkpoint
from porter.core.assignments import Assignment, StoredPart
from porter.core.checkpoint import Checkpoint
from porter.core.cut import Cut
from porter.core.head import HeadStep
from porter.core.stored_preprocessing import Normalization
from porter.planning.choices import Choice, choose, choose_preset
from porter.planning.chosen_averages import averages_of, with_numbered_averages
from porter.planning.class_names import ClassNames, class_names
from porter.planning.custom_head import OWN_HEAD, backbone_alone, leave_head
from porter.planning.draft import refuse_draft
from porter.planning.epsilon import Epsilon, choose_epsilon
from porter.planning.expected_input import (
    expected_input,
    kept_as_constants,
    normalization_node,
    size_of_own_network,
)
from porter.planning.filled_norms import with_filled
from porter.planning.identification import identify
from porter.planning.ledger import LedgerLine, moving_averages, write_ledger
from porter.planning.leftovers import biases_of_zeros, refuse_leftovers, refuse_tail
from porter.planning.odd_maps import with_fixed_padding
from porter.planning.port_options import DEFAULTS, Classes, PortOptions
from porter.planning.recognition import Recognised, left_out_keys
from porter.planning.remarks import remarks
from porter.planning.stated_network import compared, stated_head
from porter.planning.stored_channel_order import in_stored_order
from porter.planning.stored_images import stored_images
from porter.tables.known_tables import Tables
from porter.tables.shipped import load_tables
from porter.tables.table_records import InputSpec
from porter.tables.variants import Entry, Variant

if TYPE_CHECKING:
    from porter.planning.own_head import OwnHead

_SHOWN = 5


class Plan(NamedTuple):
    """What a port will do.

    Attributes:
        variant: The network.
        assignments: One per target tensor, in the table's order.
        ledger: One line per source variable.
        arguments: Every argument that timm's `create_model` needs for these weights.
        weights: ``"raw"``, or ``"ema"`` if at least one moving average is read.
        from_average: How many target tensors are read from a moving average.
        bn_eps: The batch normalisation epsilon, or None if the network has none.
        bn_eps_source: Where that value comes from.
        notes: What the person should know before trusting the port.
        channel_order: ``"rgb"`` or ``"bgr"``: the order of channels that the ported network takes.
        classes: ``"drop-background"`` if the first class was left out.
        input_spec: What the network expects: size, mean and std are the source's if it stores them.
        size_source: Where the size of the images comes from.
        fixed_size: Height and width that the network in the source itself takes, if it carries one with a
            single size.
        network: What the source says of its network and what was compared, in a few words.
        classifier_activation: What the source has behind the classifier, e.g. ``"sigmoid"``; None if it
            has nothing there, or does not tell.
        places: Object path in the checkpoint of each part of the network that is there, by its name.
        head: What takes the place of timm's classifier, in order; nothing if timm's own computes it.
        cut: Where the network ends, if that is before its own end or in several places.
        class_names: What the classes are called, if the source or a file beside it says so.
    """

    variant: Variant
    assignments: tuple[Assignment, ...]
    ledger: tuple[LedgerLine, ...]
    arguments: Mapping[str, object]
    weights: Literal["raw", "ema"]
    from_average: int
    bn_eps: float | None
    bn_eps_source: str
    notes: tuple[str, ...]
    input_spec: InputSpec
    size_source: str
    fixed_size: tuple[int, int] | None
    places: Mapping[str, str]
    channel_order: str = "rgb"
    classes: Classes = "all"
    network: str = ""
    classifier_activation: str | None = None
    head: tuple[HeadStep, ...] = ()
    cut: Cut | None = None
    class_names: ClassNames | None = None

    @property
    def has_own_head(self) -> bool:
        """Whether the source has another head than the table's network."""
        return OWN_HEAD in self.places

    def __repr__(self) -> str:
        """Say in one line what is ported to what."""
        model, count = self.variant.target.name, len(self.assignments)
        return f"<Plan: {self.variant.name} to {model}, {count} tensors, {self.weights} weights>"


def plan(
    checkpoint: Checkpoint | str | PathLike[str],
    tables: Tables | None = None,
    options: PortOptions = DEFAULTS,
    **choices: Any,
) -> Plan:
    """Join a checkpoint and the tables.

    Args:
        checkpoint: The source, open, or its path.
        tables: Known networks; those that come with porter if None.
        options: What was chosen.
        **choices: Single attributes of `PortOptions`, by name, in place of those of `options`.

    Raises:
        CheckpointError: no checkpoint is there.
        PlanError: the checkpoint and the table do not close (what is missing or left over), or a bad choice.
        TableError: the variant is not known.

    Example:
        >>> porter.plan("ckpt-1").variant.name
        'keras_mobilenetv1_025'
    """
    options, tables = options.merged(choices), tables or load_tables()
    if isinstance(checkpoint, str | PathLike):
        with open_checkpoint(checkpoint) as opened:
            return _planned(opened, tables, options)
    return _planned(checkpoint, tables, options)


def _planned(checkpoint: Checkpoint, tables: Tables, options: PortOptions) -> Plan:
    match = _identified(checkpoint, tables, options)
    known, match, head = _with_head(checkpoint, match, backbone_only=options.backbone_only)
    checkpoint = with_numbered_averages(checkpoint, match, options.weights)
    averages = averages_of(checkpoint, match, options.weights)
    match = in_stored_order(checkpoint, match)
    choice = choose(match, checkpoint, options)
    match, offers = choose_preset(match, checkpoint, options.preset)
    expected, size_source, input_notes = expected_input(checkpoint, match, options.input_size)
    found = [(e, key) for e, key in zip(match.variant.entries, match.keys, strict=True) if key is not None]
    ledger = _closed_ledger(checkpoint, match, found, averages, backbone_only=options.backbone_only)
    network = compared(checkpoint, known, head)
    epsilon = choose_epsilon(checkpoint, match, options.bn_eps, network)
    listed = _assignments(checkpoint, found, match, averages, epsilon, choice)
    assignments = with_filled(listed, match, epsilon, choice)
    from_average = _from_average(assignments, averages)
    variant = _as_it_is_there(match)
    return Plan(
        variant=variant,
        assignments=(*assignments, *_fills(variant, match, choice), *_counters(variant, match)),
        ledger=ledger,
        arguments=_arguments(match, epsilon.value, choice),
        weights="ema" if from_average else "raw",
        from_average=from_average,
        bn_eps=epsilon.value,
        bn_eps_source=epsilon.source,
        notes=(*remarks(checkpoint, match, epsilon, network, ledger), *choice.notes, *input_notes, *offers),
        input_spec=expected,
        size_source=size_source,
        fixed_size=size_of_own_network(checkpoint),
        places={name: match.graph.paths[node] or "" for name, node in match.nodes.items()},
        channel_order=choice.channel_order,
        classes=options.classes,
        network=network.line,
        classifier_activation=network.classifier_activation,
        head=() if head is None else head.steps,
        cut=match.cut,
        class_names=class_names(checkpoint, match, head, options),
    )


def _identified(checkpoint: Checkpoint, tables: Tables, options: PortOptions) -> Recognised:
    match = identify(checkpoint, tables, options.variant)
    refuse_draft(match.variant, options)
    return with_fixed_padding(checkpoint, match, options.input_size)


def _with_head(
    checkpoint: Checkpoint, match: Recognised, *, backbone_only: bool
) -> tuple[Recognised, Recognised, OwnHead | None]:
    """Return what the table knows of a match, the match with a head that the source states, and that head."""
    head = None if backbone_only else stated_head(checkpoint, match)
    if head is not None:
        return backbone_alone(match), head.match, head
    known = backbone_alone(match) if backbone_only else match
    return known, known, None


def _from_average(assignments: Sequence[Assignment], averages: Mapping[str, str]) -> int:
    """Return how many tensors are read from a moving average."""
    return sum(any(p.key in averages.values() for p in a.sources) for a in assignments)


def _counters(variant: Variant, match: Recognised) -> Iterator[Assignment]:
    """Yield PyTorch's counters of batches, which have no counterpart in TensorFlow."""
    for part, target in variant.counters:
        if part in match.nodes:
            yield Assignment(target, (), constant=0)


def _fills(variant: Variant, match: Recognised, choice: Choice) -> Iterator[Assignment]:
    """Yield parameters of PyTorch's that TensorFlow's layers do without."""
    for constant in variant.constants:
        if constant.part in match.nodes:
            shape = tuple(choice.length(dim) for dim in constant.shape)
            yield Assignment(constant.target, shape, fill=constant.value)


def _closed_ledger(
    checkpoint: Checkpoint,
    match: Recognised,
    found: list[tuple[Entry, str]],
    averages: Mapping[str, str],
    *,
    backbone_only: bool,
) -> tuple[LedgerLine, ...]:
    ledger = _ledger(checkpoint, match, found, averages)
    ledger = leave_head(match, ledger) if backbone_only else ledger
    refuse_leftovers(checkpoint, match, ledger)
    if not backbone_only:
        refuse_tail(checkpoint, match)
    return ledger


def _ledger(
    checkpoint: Checkpoint, match: Recognised, found: list[tuple[Entry, str]], averages: Mapping[str, str]
) -> tuple[LedgerLine, ...]:
    refusals = _unusable(checkpoint, found, averages)
    zeros = biases_of_zeros(checkpoint, {key for _, key in found})
    return write_ledger(
        checkpoint,
        {key: entry.target for entry, key in found if not entry.folded and key not in refusals},
        moving_averages(checkpoint),
        refusals,
        {**_preparing(checkpoint, match), **left_out_keys(match), **zeros},
        {key: entry.target for entry, key in found if entry.folded and key not in refusals},
    )


def _unusable(
    checkpoint: Checkpoint, found: list[tuple[Entry, str]], averages: Mapping[str, str]
) -> dict[str, str]:
    """Return the reason, by raw key, for each variable whose stored form cannot become a weight."""
    reasons = {}
    for entry, raw in found:
        spec = checkpoint.specs[averages.get(raw, raw)]
        if not spec.dtype.is_float:
            reasons[raw] = f"its dtype is {spec.dtype.name}, and {entry.target} holds floating-point numbers"
        elif spec.shape != checkpoint.specs[raw].shape:
            reasons[raw] = f"its moving average has shape {spec.shape}, not {checkpoint.specs[raw].shape}"
    return reasons


def _preparing(checkpoint: Checkpoint, match: Recognised) -> dict[str, str]:
    """Return, by key, why the variables of layers that prepare images are no part of the network."""
    reason = "prepares images; the output's metadata carries it as mean and std"
    steps = stored_images(checkpoint).steps
    keys = [key for step in steps if isinstance(step, Normalization) for key in step.keys]
    network = checkpoint.stored_network
    if steps and network is not None and network.is_graph:
        keys += kept_as_constants(checkpoint.graph, network)
    if not steps and (node := normalization_node(match)) is not None:
        nodes = match.graph.nodes
        keys += [key for child in nodes[node].children.values() if (key := nodes[child].key) is not None]
    return dict.fromkeys(keys, reason)


def _assignments(
    checkpoint: Checkpoint,
    found: list[tuple[Entry, str]],
    match: Recognised,
    averages: Mapping[str, str],
    epsilon: Epsilon,
    choice: Choice,
) -> list[Assignment]:
    """Return one assignment per target, in the order in which the table first makes them."""
    groups: dict[str, list[tuple[Entry, StoredPart]]] = {e.target: [] for e, _ in found if not e.folded}
    for entry, raw in found:
        key = averages.get(raw, raw)
        path, selection = match.variant.full_source(entry), choice.selection(entry)
        part = StoredPart(key, path, checkpoint.specs[key], entry.layout, entry.scale, selection)
        groups[entry.target].append((entry, part))
    return [_assignment(target, group, epsilon, choice) for target, group in groups.items()]


def _assignment(
    target: str, group: list[tuple[Entry, StoredPart]], epsilon: Epsilon, choice: Choice
) -> Assignment:
    entries = [entry for entry, _ in group if not entry.folded]
    first = entries[0]
    shapes = [tuple(choice.length(dim) for dim in entry.target_shape) for entry in entries]
    joined = shapes[0] if len(shapes) == 1 else (sum(shape[0] for shape in shapes), *shapes[0][1:])
    return Assignment(
        target=target,
        shape=joined,
        parts=tuple(part for entry, part in group if not entry.folded),
        offset=epsilon.offset(target) if first.is_variance else 0.0,
        is_variance=first.is_variance,
        subtract=tuple(part for entry, part in group if entry.folded),
    )


def _as_it_is_there(match: Recognised) -> Variant:
    """Return the variant with modules that pass their input on in place of parts that are not there."""
    variant = match.variant
    if match.cut is not None:
        from porter.planning.cut_backbone import without_missing  # noqa: PLC0415  (most are whole)

        return without_missing(match)
    without = [name for part in variant.parts if part.name not in match.nodes for name in part.without]
    return replace(variant, adjust={**variant.adjust, "without": without}) if without else variant


def _arguments(match: Recognised, epsilon: float | None, choice: Choice) -> dict[str, object]:
    arguments = dict(match.variant.target.arguments)
    if epsilon is not None and match.variant.bn_eps is not None:
        arguments[match.variant.bn_eps.argument] = epsilon
    for name in match.lengths:
        free, length = match.variant.free[name], choice.length(name)
        if length != free.default:
            arguments[free.argument] = length
    for part in match.variant.parts:
        if part.name not in match.nodes:
            arguments.update(part.absent or {})
    return arguments
