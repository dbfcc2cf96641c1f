"""A plan: every assignment of one checkpoint, closed or refused before a byte is moved."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from porter.assignments import Assignment, Part
from porter.errors import PlanError
from porter.ledger import Bucket, LedgerLine, moving_averages, write_ledger
from porter.recognition import Match, recognise
from porter.tables import Dim, Entry, Tables, Variant
from porter.tensors import Checkpoint

Weights = Literal["auto", "raw", "ema"]
_SHOWN = 5


@dataclass(frozen=True)
class Plan:
    """What a port will do.

    Attributes:
        variant: The network.
        assignments: One per target tensor, in the table's order.
        ledger: One line per source variable.
        arguments: Every argument that timm's `create_model` needs for these weights.
        weights: ``"raw"``, or ``"ema"`` where at least one moving average is read.
        from_average: How many target tensors are read from a moving average.
        bn_eps: The batch normalisation epsilon, or None where the network has none.
        bn_eps_source: Where that value comes from.
        notes: What the person should know before trusting the port.
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


def plan(
    checkpoint: Checkpoint,
    tables: Tables,
    variant: str | None = None,
    *,
    weights: Weights = "auto",
    bn_eps: float | None = None,
) -> Plan:
    """Join a checkpoint and the tables.

    Args:
        checkpoint: The source.
        tables: Known networks.
        variant: The network, where names and shapes alone do not decide.
        weights: ``"auto"`` reads the moving average of every variable that has one, ``"ema"`` insists that
            there is one, ``"raw"`` ignores them.
        bn_eps: The batch normalisation epsilon of the training; the table's default where None.

    Raises:
        PlanError: the checkpoint and the table do not close; the message lists what is missing or left over.
        TableError: `variant` is not known.
    """
    match = recognise(checkpoint, tables, variant)
    averages = _averages(checkpoint, match, weights)
    epsilon, epsilon_source, notes = _epsilon(match.variant, bn_eps)
    entries = [entry for entry in match.variant.entries if entry.part in match.nodes]
    refusals = _unusable(checkpoint, entries, match, averages)
    ledger = write_ledger(
        checkpoint,
        {key: target for target, key in match.keys.items() if key not in refusals},
        moving_averages(checkpoint),
        refusals,
    )
    _refuse_leftovers(checkpoint, match, ledger)
    assignments = [_assignment(checkpoint, entry, match, averages, epsilon) for entry in entries]
    counters = [
        Assignment(target, (), constant=0) for part, target in match.variant.counters if part in match.nodes
    ]
    from_average = sum(match.keys[entry.target] in averages for entry in entries)
    return Plan(
        variant=match.variant,
        assignments=(*assignments, *counters),
        ledger=ledger,
        arguments=_arguments(match, epsilon),
        weights="ema" if from_average else "raw",
        from_average=from_average,
        bn_eps=epsilon,
        bn_eps_source=epsilon_source,
        notes=notes,
    )


def _averages(checkpoint: Checkpoint, match: Match, weights: Weights) -> Mapping[str, str]:
    if weights == "raw":
        return {}
    mapped = set(match.keys.values())
    found = {raw: average for raw, average in moving_averages(checkpoint).items() if raw in mapped}
    if weights == "ema" and not found:
        raise PlanError(
            "plan/no-average",
            "the checkpoint holds no exponential moving average of this network",
            file=checkpoint.path,
            hint="Use --weights raw (or auto).",
        )
    return found


def _epsilon(variant: Variant, chosen: float | None) -> tuple[float | None, str, tuple[str, ...]]:
    known = variant.bn_eps
    if known is None:
        if chosen is not None:
            raise PlanError(
                "plan/no-batch-norm", f"{variant.name} has no batch normalisation to set --bn-eps for"
            )
        return None, "", ()
    if chosen is not None:
        return chosen, "chosen with --bn-eps", ()
    return known.default, known.source, (known.note,) if known.note else ()


def _unusable(
    checkpoint: Checkpoint, entries: list[Entry], match: Match, averages: Mapping[str, str]
) -> dict[str, str]:
    """Return the reason, by raw key, for each variable whose stored form cannot become a weight."""
    reasons = {}
    for entry in entries:
        raw = match.keys[entry.target]
        spec = checkpoint.specs[averages.get(raw, raw)]
        if not spec.dtype.is_float:
            reasons[raw] = f"its dtype is {spec.dtype.name}, and {entry.target} holds floating-point numbers"
        elif spec.shape != checkpoint.specs[raw].shape:
            reasons[raw] = f"its moving average has shape {spec.shape}, not {checkpoint.specs[raw].shape}"
    return reasons


def _refuse_leftovers(checkpoint: Checkpoint, match: Match, ledger: tuple[LedgerLine, ...]) -> None:
    refused = [line for line in ledger if line.bucket is Bucket.REFUSED]
    if not refused:
        return
    unmatched = [e.source for e in match.variant.entries if e.part not in match.nodes]
    lines = [
        f"{line.path} {checkpoint.specs[line.key].shape}: {line.reason}{_did_you_mean(line.path, unmatched)}"
        for line in refused[:_SHOWN]
    ]
    more = [f"and {len(refused) - _SHOWN} more"] if len(refused) > _SHOWN else []
    raise PlanError(
        "plan/left-over",
        f"{match.variant.name} fits, but {len(refused)} variable(s) would be left behind",
        file=checkpoint.path,
        hint="Save the model without them, or write a table that takes them (--table FILE).",
        details=lines + more,
    )


def _did_you_mean(path: str, names: list[str]) -> str:
    near = difflib.get_close_matches(path, names, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def _assignment(
    checkpoint: Checkpoint, entry: Entry, match: Match, averages: Mapping[str, str], epsilon: float | None
) -> Assignment:
    raw = match.keys[entry.target]
    key = averages.get(raw, raw)
    spec = checkpoint.specs[key]
    fixed = entry.bn_eps if entry.is_variance else None
    return Assignment(
        target=entry.target,
        shape=tuple(_bound(dim, match.lengths) for dim in entry.target_shape),
        parts=(Part(key, match.variant.full_source(entry), spec, entry.layout),),
        # The target has one epsilon for all: var + fixed == (var + offset) + epsilon.
        offset=0.0 if fixed is None or epsilon is None else fixed - epsilon,
        is_variance=entry.is_variance,
    )


def _bound(dim: Dim, lengths: Mapping[str, int]) -> int:
    return lengths[dim] if isinstance(dim, str) else dim


def _arguments(match: Match, epsilon: float | None) -> dict[str, object]:
    arguments = dict(match.variant.target.arguments)
    if epsilon is not None and match.variant.bn_eps is not None:
        arguments[match.variant.bn_eps.argument] = epsilon
    for name, length in match.lengths.items():
        free = match.variant.free[name]
        if length != free.default:
            arguments[free.argument] = length
    for part in match.variant.parts:
        if part.name not in match.nodes:
            arguments.update(part.absent or {})
    return arguments
