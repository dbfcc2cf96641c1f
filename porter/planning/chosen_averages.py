"""Moving averages of the network that was recognised: which are read, and when that is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from porter.checkpoints.keras.optimizer_averages import AVERAGE, averages_by_position
from porter.core.checkpoint import Checkpoint
from porter.core.object_graph import Node, ObjectGraph, Slot
from porter.errors import PlanError
from porter.planning.ledger import moving_averages, optimizer_state
from porter.planning.port_options import Weights
from porter.planning.recognition import Recognised

_NUMBER = re.compile(r"layer_with_weights-(\d{1,9})")
_LEAVES = ("kernel", "depthwise_kernel", "pointwise_kernel", "bias", "gamma", "beta")


def with_numbered_averages(checkpoint: Checkpoint, match: Recognised, weights: Weights) -> Checkpoint:
    """Return the checkpoint with the averages of an optimizer whose variables have numbers for names.

    A ``.weights.h5`` stores no config: the order of the layers is known only once the network is. That the
    optimizer holds averages is what a person says with ``--weights ema``; otherwise the values must tell.
    """
    if not checkpoint.numbered_state or weights == "raw":
        return checkpoint
    specs = checkpoint.specs
    pairs, reason = averages_by_position(
        [(key, specs[key]) for key in checkpoint.numbered_state],
        [(key, specs[key]) for key in _trainable(match)],
        checkpoint.read,
        is_used=True if weights == "ema" else None,
    )
    from porter.planning.arrangement import Arranged  # noqa: PLC0415  (few files have numbers for names)

    graph = checkpoint.graph
    numbers = graph.node_of_key
    slots = tuple(Slot(AVERAGE, numbers[raw], numbers[key]) for raw, key in pairs.items())
    root = graph.nodes[0]
    nodes = [
        Node(root.children, root.key, root.full_name, (*root.slots, *slots), root.anonymous),
        *graph.nodes[1:],
    ]
    found = Arranged(checkpoint, ObjectGraph(nodes, stored=graph.stored, origin=graph.origin))
    found.unplaced_averages = reason
    return found


def averages_of(checkpoint: Checkpoint, match: Recognised, weights: Weights) -> Mapping[str, str]:
    """Return the key of the average of each variable of the network, by the variable's own key.

    Raises:
        PlanError: averages are wanted and not there (``plan/no-average``), are alone there and not wanted
            (``plan/averages-alone``), or may be there and cannot be told (``plan/unplaced-averages``).
    """
    mapped = set(match.keys)
    found = {raw: average for raw, average in moving_averages(checkpoint).items() if raw in mapped}
    if weights == "raw":
        _refuse_averages_alone(checkpoint, match, found)
        return {}
    if checkpoint.unplaced_averages:
        raise PlanError(
            "plan/unplaced-averages",
            checkpoint.unplaced_averages,
            file=checkpoint.path,
            hint="Use --weights raw for the weights themselves, or save the model with the averages in it.",
        )
    if weights == "ema" and not found:
        is_known = bool(optimizer_state(checkpoint))
        raise PlanError(
            "plan/no-average",
            "the checkpoint holds no exponential moving average of this network"
            if is_known
            else "no optimizer is stored here, which is where moving averages would be",
            file=checkpoint.path,
            hint="Use --weights raw (or auto)."
            if is_known
            else "Port a full checkpoint, or use --weights raw (or auto).",
        )
    return found


def _refuse_averages_alone(checkpoint: Checkpoint, match: Recognised, averages: Mapping[str, str]) -> None:
    alone = sum(raw == average for raw, average in averages.items())
    if alone:
        raise PlanError(
            "plan/averages-alone",
            f"{alone} variables of {match.variant.name} are stored as moving averages alone",
            file=checkpoint.path,
            hint="Use --weights ema (or auto).",
        )


def _trainable(match: Recognised) -> Iterator[str]:
    """Yield the keys of the network's trainable variables in the order in which an optimizer has them."""
    from porter.checkpoints.keras.layers import NOT_TRAINABLE  # noqa: PLC0415  (few files have numbers for names)

    places: dict[str, tuple[tuple[int, ...], int]] = {}
    for entry, key in zip(match.variant.entries, match.keys, strict=True):
        path = match.variant.full_source(entry)
        leaf = path.rpartition("/")[2]
        if key is not None and leaf not in NOT_TRAINABLE:
            layer = tuple(int(number) for number in _NUMBER.findall(path))
            places[key] = (layer, _LEAVES.index(leaf) if layer and leaf in _LEAVES else 0)
    return iter(sorted(places, key=lambda key: places[key]))
