"""What a person may choose of a network that is there: classes, the order of channels, kinds of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from porter.core.checkpoint import Checkpoint
from porter.errors import PlanError
from porter.planning.port_options import ChannelOrder, PortOptions
from porter.planning.recognition import Recognised
from porter.tables.table_records import Dim
from porter.tables.variants import Entry, Variant

# TensorFlow's ImageNet labels: class 0 is background, the others are one more than everybody else's.
_WITH_BACKGROUND = 1001
_COLOURS = 3
_CLASSES_ARGUMENT = "num_classes"
_CHANNELS_ARGUMENT = "in_chans"


class Choice(NamedTuple):
    """What is taken of every variable.

    Attributes:
        lengths: Lengths that the checkpoint decided, as they are in the target.
        selections: What is taken of an axis whose length has this name.
        channel_order: The order of channels that the ported network takes.
        notes: What the person should know.
    """

    lengths: Mapping[str, int]
    selections: Mapping[str, slice]
    channel_order: str
    notes: tuple[str, ...]

    def selection(self, entry: Entry) -> tuple[slice, ...] | None:
        """Return what is taken of an entry's variable, one slice per axis, or None for all of it."""
        if not any(dim in self.selections for dim in entry.source_shape):
            return None
        return tuple(self.selections.get(str(dim), slice(None)) for dim in entry.source_shape)

    def length(self, dim: Dim) -> int:
        """Return a length of a target's shape."""
        return self.lengths[dim] if isinstance(dim, str) else dim


def choose(match: Recognised, checkpoint: Checkpoint, options: PortOptions) -> Choice:
    """Apply a person's choices to what was found.

    Args:
        match: The network in the checkpoint.
        checkpoint: The source, for messages.
        options: Its `classes` and `channel_order` are applied.

    Raises:
        PlanError: there is no background class, or the network does not take BGR.
    """
    lengths, selections, notes = dict(match.lengths), {}, []
    name = _free_length(match.variant, _CLASSES_ARGUMENT)
    count = None if name is None else lengths.get(name)
    if options.classes == "drop-background":
        if name is None or count != _WITH_BACKGROUND:
            raise PlanError(
                "plan/no-background",
                "only the first of 1001 classes is known to be background",
                file=checkpoint.path,
                expected=f"{_WITH_BACKGROUND} classes",
                found=count or "a checkpoint without classes",
                hint="Leave --classes out.",
            )
        lengths[name], selections[name] = count - 1, slice(1, None)
    elif count == _WITH_BACKGROUND:
        notes.append("1001 classes: the first is background; --classes drop-background leaves it out")
    order, flipped, more = _order(match, checkpoint, options.channel_order)
    return Choice(lengths, {**selections, **flipped}, order, (*notes, *more))


def choose_preset(
    match: Recognised, checkpoint: Checkpoint, chosen: str | None
) -> tuple[Recognised, tuple[str, ...]]:
    """Return the match with the mean and std of the way of taking images that was chosen, and notes.

    Args:
        match: The network in the checkpoint.
        checkpoint: The source, for messages.
        chosen: One of the ways that the table offers beside its usual one, which None means.

    Raises:
        PlanError: the table offers no such way.
    """
    variant = match.variant
    if chosen is None:
        return match, tuple(
            f"nothing in a checkpoint says whether its weights {way.when}: "
            f"--preset {name} writes mean {way.mean} and std {way.std} for them"
            for name, way in variant.presets.items()
        )
    if chosen not in variant.presets:
        raise PlanError(
            "plan/pictures",
            f"{variant.name} has no preset {chosen!r}",
            file=checkpoint.path,
            expected=" or ".join(map(repr, variant.presets)) or None,
            hint="Leave --preset out.",
        )
    way = variant.presets[chosen]
    spec = variant.input._replace(mean=way.mean, std=way.std)
    return match._replace(variant=replace(variant, input=spec)), ()


def _order(
    match: Recognised, checkpoint: Checkpoint, wanted: ChannelOrder | None
) -> tuple[str, dict[str, slice], tuple[str, ...]]:
    """Return the order, how the input's channels are taken, and notes."""
    stored = match.variant.input.channel_order
    if wanted is None:
        note = "the network takes BGR images; --channel-order rgb turns its first convolution round"
        return stored, {}, (note,) if stored == "bgr" else ()
    name = _free_length(match.variant, _CHANNELS_ARGUMENT)
    if stored != "bgr" or name is None or match.lengths[name] != _COLOURS:
        raise PlanError(
            "plan/channel-order",
            f"{match.variant.name} does not take BGR images",
            file=checkpoint.path,
            hint="Leave --channel-order out.",
        )
    return wanted, {name: slice(None, None, -1)}, ()


def _free_length(variant: Variant, argument: str) -> str | None:
    return next((free.name for free in variant.free.values() if free.argument == argument), None)
