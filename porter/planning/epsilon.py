"""The batch normalisation epsilon: what a person chose, what the source states, or what the table says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from porter.core.checkpoint import Checkpoint
from porter.errors import PlanError
from porter.planning.network.findings import NetworkFindings
from porter.planning.recognition import Recognised
from porter.tables.table_records import BatchNormEpsilon


class Epsilon(NamedTuple):
    """The one epsilon that a ported network has, and where the source has another.

    Attributes:
        value: None if the network has no batch normalisation.
        source: Where the value comes from.
        notes: What the person should know.
        own: The epsilon of the norm that a variance belongs to, by the variance's target, if it is known
            apart from `value`: var + own == (var + offset) + value.
    """

    value: float | None
    source: str
    notes: tuple[str, ...]
    own: Mapping[str, float]

    def offset(self, target: str) -> float:
        """Return what is added to a variance so that the network's one epsilon is right for it."""
        own = self.own.get(target)
        return 0.0 if own is None or self.value is None else own - self.value


def choose_epsilon(
    checkpoint: Checkpoint, match: Recognised, chosen: float | None, found: NetworkFindings
) -> Epsilon:
    """Return the epsilon of a network.

    Args:
        checkpoint: The source, for messages.
        match: The network in it.
        chosen: What a person gave with --bn-eps, or None.
        found: What the source states.

    Raises:
        PlanError: an epsilon was chosen for a network without batch normalisation, or norms whose variances
            are joined in one tensor have different ones.
    """
    known = match.variant.bn_eps
    if known is None:
        if chosen is not None:
            raise PlanError(
                "plan/no-batch-norm", f"{match.variant.name} has no batch normalisation to set --bn-eps for"
            )
        return Epsilon(None, "", (), {})
    stated, fixed = _stated(checkpoint, match, found)
    values = sorted(set(stated.values()))
    if chosen is not None:
        others = [value for value in values if value != chosen]
        told = f"--bn-eps {chosen:g} is used, although {found.origin} says {_listed(others)}"
        return Epsilon(chosen, "chosen with --bn-eps", (told,) if others else (), fixed)
    if not values:
        return _of_table(known, fixed)
    if len(values) == 1:
        return Epsilon(values[0], found.origin, (), fixed)
    note = (
        f"{found.origin} gives the norms different epsilons, {_listed(values)}: the network gets "
        f"{values[0]:g}, and variances are stored larger by what they lack"
    )
    return Epsilon(values[0], found.origin, (note,), fixed | stated)


def _of_table(known: BatchNormEpsilon, fixed: Mapping[str, float]) -> Epsilon:
    return Epsilon(known.default, known.source, (known.note,) if known.note else (), fixed)


def _stated(
    checkpoint: Checkpoint, match: Recognised, found: NetworkFindings
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the epsilons that the source states by target, and those of norms that the table fixes."""
    stated: dict[str, float] = {}
    fixed: dict[str, float] = {}
    for entry, key in zip(match.variant.entries, match.keys, strict=True):
        if not entry.is_variance or key is None:
            continue
        value = found.epsilons.get(key, entry.bn_eps)
        if value is None:
            continue
        known = stated if entry.bn_eps is None else fixed
        if known.setdefault(entry.target, value) != value:
            raise PlanError(
                "plan/other-network",
                "norms that become one have different epsilons",
                file=checkpoint.path,
                tensor=entry.target,
                expected=known[entry.target],
                found=value,
            )
    return stated, fixed


def _listed(values: list[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
