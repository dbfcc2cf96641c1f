"""The networks that are likest to a checkpoint that none fits, and the refusal that lists them."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from porter.checkpoints.carried import carried_network
from porter.core.checkpoint import Checkpoint
from porter.errors import PlanError
from porter.planning.fitting import (
    faults_of,
    is_fixed,
    required_entries,
    roots_of,
    shape_fits,
    shapes_at,
    tells_only_an_order,
    with_edges_of,
)
from porter.tables.known_tables import Signature, Tables, leading_name
from porter.tables.variants import Variant

_SHOWN = 5
# To expand and try every network takes seconds; a few more than are shown are tried.
_MOST_TRIED = 7


class Mismatch(NamedTuple):
    """Why a variant does not fit, at the place where it fits best.

    Attributes:
        variant: The network that was tried.
        found: How many of its variables are there with the right shape.
        total: How many it has.
        reasons: One line per variable that is missing or has another shape.
        rules: Where in the table the rule of each of them stands.
    """

    variant: Variant
    found: int
    total: int
    reasons: tuple[str, ...]
    rules: tuple[str, ...]

    def __str__(self) -> str:
        """Return one line for the list of candidates."""
        first = self.reasons[0] if self.reasons else "no variable of it is here"
        more = f" (and {len(self.reasons) - 1} more)" if len(self.reasons) > 1 else ""
        return f"{self.variant.name}: {self.found} of {self.total} variables fit; {first}{more}"


def mismatch(checkpoint: Checkpoint, variant: Variant) -> Mismatch:
    """Return how far `variant` fits, for a checkpoint that it does not fit."""
    required = required_entries(variant)
    checkpoint = with_edges_of(variant, checkpoint)
    best = Mismatch(variant, 0, len(required), (), ())
    for node in roots_of(checkpoint.graph, required):
        faults = list(faults_of(checkpoint, required, node, {}))
        found = len(required) - len(faults)
        if found > best.found:
            rules, reasons = zip(*faults, strict=True) if faults else ((), ())
            best = Mismatch(variant, found, len(required), reasons, rules)
    return best


def nearest(checkpoint: Checkpoint, tables: Tables) -> Iterator[Variant]:
    """Yield the variants that are likest to the checkpoint by their signatures.

    To expand and try every variant takes seconds, and a refusal names five.
    """
    unnamed = tells_only_an_order(checkpoint)
    leading_names = set(map(leading_name, checkpoint.graph.owners))
    shapes = {spec.shape for spec in checkpoint.specs.values()}
    known: dict[str, dict[int, tuple[int, ...]]] = {}
    likeness: dict[str, tuple[float, float]] = {}
    for name in tables.variants:
        signature = tables.signatures.get(name)
        if signature is None:
            yield tables.variants[name]
        elif unnamed or not leading_names.isdisjoint(signature.leading_names):
            likeness[name] = _likeness(checkpoint, known, shapes, signature)
    for name in sorted(likeness, key=lambda name: likeness[name], reverse=True)[:_MOST_TRIED]:
        yield tables.variants[name]


def _likeness(
    checkpoint: Checkpoint,
    known: dict[str, dict[int, tuple[int, ...]]],
    shapes: set[tuple[int, ...]],
    signature: Signature,
) -> tuple[float, float]:
    """Return which shares of a signature are there, by path and shape below one node, and by shape alone."""
    fitting: Counter[int] = Counter()
    for path, wanted in signature.pairs:
        if path not in known:
            known[path] = dict(shapes_at(checkpoint, path))
        fitting.update(node for node, shape in known[path].items() if shape_fits(shape, wanted, {}))
    alike = sum(
        wanted in shapes or (not is_fixed(wanted) and any(shape_fits(shape, wanted, {}) for shape in shapes))
        for _, wanted in signature.pairs
    )
    count = len(signature.pairs)
    return max(fitting.values(), default=0) / count, alike / count


def no_match(checkpoint: Checkpoint, wanted: list[Variant], known: str) -> PlanError:
    """Return the refusal of a checkpoint that none of the networks `wanted` fits."""
    tried = sorted((mismatch(checkpoint, v) for v in wanted), key=lambda m: m.found / m.total, reverse=True)
    near = [candidate for candidate in tried if candidate.found]
    if not near:
        names = list(islice(checkpoint.specs, 3))
        return PlanError(
            "plan/unknown-network",
            f"no table fits this checkpoint: none of its {len(checkpoint.specs)} variables "
            f"({', '.join(names)}, ...) belongs to {known}",
            file=checkpoint.path,
            hint=f"porter inspect lists what is in it; {_how_to_match(checkpoint)}",
            details=_lost_order(checkpoint),
        )
    return PlanError(
        "plan/no-match",
        "no network fits; the nearest are listed below",
        file=checkpoint.path,
        hint="porter inspect lists what is in it, porter table VARIANT what is expected; "
        + _how_to_match(checkpoint),
        details=[str(candidate) for candidate in near[:_SHOWN]] + _lost_order(checkpoint),
    )


def _how_to_match(checkpoint: Checkpoint) -> str:
    """Name the command that makes a table for the checkpoint, with the arguments filled in."""
    code = "" if carried_network(checkpoint) else " --source MODULE:FUNCTION"
    path = shlex.quote(str(checkpoint.path))
    return (
        f"porter match {path}{code} --target timm:NAME -o mine.toml makes a table of your own "
        "(MODULE:FUNCTION for a network of your own), --table mine.toml ports with it."
    )


def _lost_order(checkpoint: Checkpoint) -> list[str]:
    """Return a line for each model inside the model whose layers may be listed out of order."""
    return [
        f"{name} {'was' if certain else 'may have been'} frozen in part: the file lists first what trains "
        "and does not tell the order of the layers; the full model (.h5, .keras) or a checkpoint does"
        for name, certain in checkpoint.frozen_in_part.items()
    ]
