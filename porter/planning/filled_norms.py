"""Norms that a source has folded into its convolutions come back as norms that change nothing."""

from __future__ import annotations

from collections.abc import Iterator

from porter.core.assignments import Assignment
from porter.planning.choices import Choice
from porter.planning.epsilon import Epsilon
from porter.planning.recognition import Recognised
from porter.tables.variants import Entry

_VARIANCE = "variance"
_CONSTANTS = {"gamma": 1.0, "beta": 0.0, "mean": 0.0, "bias": 0.0}
_TOLD = (
    "{count} norms are part of the convolutions in the source, or a product and a sum: each is written with "
    "the bias, or with factor and sum, as its own, and does nothing else (--fold-bn leaves out what it can)"
)


def with_filled(
    assignments: list[Assignment], match: Recognised, epsilon: Epsilon, choice: Choice
) -> list[Assignment]:
    """Return the assignments with one per target that the source has no values for, in the table's order.

    With a variance of 1 - epsilon, gamma = 1 and mean 0 a norm adds its bias and does nothing else: in
    float32 too, where 1 - epsilon rounded plus epsilon rounded is 1 again.
    """
    if not match.filled:
        return assignments
    groups: dict[str, list[Entry]] = {}
    for entry in match.variant.entries:
        if entry.target in match.filled and not entry.folded:
            groups.setdefault(entry.target, []).append(entry)
    filled = [
        Assignment(target, _shape(entries, choice), fill=_value(match.filled[target], epsilon))
        for target, entries in groups.items()
    ]
    order = {entry.target: place for place, entry in reversed([*enumerate(match.variant.entries)])}
    return sorted([*assignments, *filled], key=lambda item: order[item.target])


def told(match: Recognised) -> Iterator[str]:
    """Yield how many norms come back, if any do."""
    count = sum(role == _VARIANCE for role in match.filled.values())
    if count:
        yield _TOLD.format(count=count)


def _shape(entries: list[Entry], choice: Choice) -> tuple[int, ...]:
    shapes = [tuple(choice.length(dim) for dim in entry.target_shape) for entry in entries]
    return shapes[0] if len(shapes) == 1 else (sum(shape[0] for shape in shapes), *shapes[0][1:])


def _value(role: str, epsilon: Epsilon) -> float:
    return 1.0 - (epsilon.value or 0.0) if role == _VARIANCE else _CONSTANTS[role]
