"""What a checkpoint holds beside the network that was recognised: the head of somebody's own model."""

from __future__ import annotations

import re
from collections.abc import Iterable

from porter.planning.ledger import Bucket, LedgerLine
from porter.planning.recognition import Recognised

OWN_HEAD = "own head"  # the part of a network that no table knows
_REASON = "outside the backbone: left behind with --backbone-only"
_NUMBERED = re.compile(r"layer_with_weights-(\d{1,9})")


def backbone_alone(match: Recognised) -> Recognised:
    """Return the match without the parts that follow the backbone: a classifier that was recognised too."""
    kept = {part.name for part in match.variant.backbone_parts}
    entries = zip(match.variant.entries, match.keys, strict=True)
    keys = tuple(key if entry.part in kept else None for entry, key in entries)
    return match._replace(nodes={name: node for name, node in match.nodes.items() if name in kept}, keys=keys)


def leave_head(match: Recognised, ledger: Iterable[LedgerLine]) -> tuple[LedgerLine, ...]:
    """Return the ledger with what is refused only for lying outside the backbone as left out."""
    inside = _inside(match)
    return tuple(
        line._replace(bucket=Bucket.LEFT_OUT, reason=_REASON)
        if line.bucket is Bucket.REFUSED and line.key not in inside
        else line
        for line in ledger
    )


def is_foreign_head(match: Recognised, refused: Iterable[LedgerLine]) -> bool:
    """Whether everything that was refused lies outside the backbone."""
    inside = _inside(match)
    return all(line.key not in inside for line in refused)


def _inside(match: Recognised) -> frozenset[str]:
    """Return every key below the layers of the backbone.

    A flat model has its head beside the backbone's layers: a head begins behind the last of them.
    """
    if match.cut is not None:
        return frozenset(key for key in match.keys if key is not None)
    graph, first = match.graph, match.variant.parts[0].name
    node = graph.nodes[match.nodes[first]]
    used = {entry.source.partition("/")[0] for entry in match.variant.entries if entry.part == first}
    used |= {path.partition("/")[0] for path, _ in match.variant.left_out}
    last = max((_position(edge) for edge in used), default=-1)
    layers = {
        number for edge, number in node.children.items() if edge in used or 0 <= _position(edge) <= last
    }
    reached = (inner for number in layers for inner in graph.reachable(number))
    return frozenset(key for inner in reached if (key := graph.nodes[inner].key) is not None)


def _position(edge: str) -> int:
    match = _NUMBERED.fullmatch(edge)
    return int(match[1]) if match else -1
