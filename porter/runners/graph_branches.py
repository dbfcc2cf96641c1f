"""Which operations of a frozen graph run only where a condition holds, and so may have no value."""

from __future__ import annotations

from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from typing import Any

_SPLITS, _MEETS = ("Switch", "RefSwitch"), ("Merge", "RefMerge")


def in_branches(nodes: Iterable[Any]) -> frozenset[str]:
    """Return the names of operations between a condition and the place where its branches meet.

    TensorFlow lowers `tf.cond`, which a source may have where it acts on the size of its images. A graph with
    loops is taken as having no conditions.
    """
    nodes = {node.name: node for node in nodes}
    taken = {
        name: [each.lstrip("^").partition(":")[0] for each in node.input] for name, node in nodes.items()
    }
    depth: dict[str, int] = {}
    try:
        order = list(TopologicalSorter(taken).static_order())
    except CycleError:
        return frozenset()
    for name in order:
        kind = nodes[name].op if name in nodes else ""
        below = max((depth[each] for each in taken.get(name, ())), default=0)
        depth[name] = max(0, below + (kind in _SPLITS) - (kind in _MEETS))
    return frozenset(name for name, level in depth.items() if level)
