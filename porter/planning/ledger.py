"""Where every source variable ended up: each one in exactly one bucket, with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import NamedTuple

from porter.core.checkpoint import Checkpoint
from porter.core.object_graph import TF1_AVERAGE, ObjectGraph


class Bucket(Enum):
    """What became of a source variable."""

    MAPPED = "mapped"
    EMA_TWIN = "EMA twin"
    OPTIMIZER = "optimizer"
    BOOKKEEPING = "bookkeeping"
    FOLDED = "folded"
    LEFT_OUT = "left out"
    REFUSED = "refused"


class LedgerLine(NamedTuple):
    """One source variable.

    Attributes:
        key: Checkpoint key.
        path: Its shortest object path, or the key if it has none.
        bucket: What became of it.
        reason: The target's name, or why it has none.
    """

    key: str
    path: str
    bucket: Bucket
    reason: str


# Slot names of the moving average of the variable itself: Model Garden's optimizer wrapper, TF1's tf.train.
_AVERAGES = ("average", TF1_AVERAGE)
# tf.compat.v1.train optimizers store a slot as <variable>/<name>[_N].
_TF1_SLOTS = ("Adam", "Momentum", "RMSProp", "Adagrad", "Adadelta", "Ftrl", "LARSOptimizer")
_OPTIMIZER_EDGES = ("optimizer", "_optimizer", "base_optimizer", "inner_optimizer")
COPIES = "_all_variables/"  # in what Keras 3 exports
_METRICS = ("metrics/", "compile_metrics/", "_metrics/")  # in Keras's own files
_WRAPPER = "optimisation_wrapper"  # what a Keras file's wrappers keep for themselves
_GENERATORS = frozenset(("seed_generator", "_random_generator"))  # of Keras 3, of tf_keras
_COUNTERS = (
    "save_counter",
    "global_step",
    "step",
    "epoch",
    "iterations",
    "beta1_power",
    "beta2_power",
    "_CHECKPOINTABLE_OBJECT_GRAPH",
)


def moving_averages(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the key of each variable's exponential moving average, by the variable's own key.

    Where the average alone is stored, that is the variable's own key too.
    """
    graph = checkpoint.graph
    found = {original: key for key, (original, slot) in graph.slots.items() if slot in _AVERAGES}
    for node in graph.nodes:
        child = node.children.get(TF1_AVERAGE)
        if node.key is not None and child is not None and (key := graph.nodes[child].key) is not None:
            found[node.key] = key
    return found


def write_ledger(
    checkpoint: Checkpoint,
    mapped: Mapping[str, str],
    averages: Mapping[str, str],
    refusals: Mapping[str, str],
    left_out: Mapping[str, str],
    folded: Mapping[str, str],
) -> tuple[LedgerLine, ...]:
    """Put every variable of the checkpoint in one bucket.

    Args:
        checkpoint: The source.
        mapped: Target name by the key of the raw variable.
        averages: Key of the moving average by the key of the raw variable.
        refusals: Reason by key, for variables that were considered and turned down.
        left_out: Reason by key, for variables that the table leaves out on purpose.
        folded: Name, by key, of the target that a variable is subtracted from.
    """
    graph = checkpoint.graph
    used = {**folded, **mapped}
    twins = {average: raw for raw, average in averages.items() if raw in used}
    optimizer = optimizer_state(checkpoint)
    lines = []
    for key in checkpoint.specs:
        node = graph.node_of_key.get(key)
        path = (None if node is None else graph.paths[node]) or key
        if key in mapped:
            bucket, reason = Bucket.MAPPED, mapped[key]
        elif key in folded:
            bucket, reason = Bucket.FOLDED, f"subtracted from {folded[key]}"
        elif key in twins:
            bucket, reason = Bucket.EMA_TWIN, f"moving average of {used[twins[key]]}"
        elif key in left_out:
            bucket, reason = Bucket.LEFT_OUT, left_out[key]
        elif key in optimizer:
            bucket, reason = Bucket.OPTIMIZER, optimizer[key]
        elif (purpose := _purpose(path, "" if node is None else graph.nodes[node].full_name)) is not None:
            bucket, reason = Bucket.BOOKKEEPING, purpose
        else:
            bucket, reason = Bucket.REFUSED, refusals.get(key, "no rule of the table takes it")
        lines.append(LedgerLine(key, path, bucket, reason))
    return tuple(lines)


def optimizer_state(checkpoint: Checkpoint) -> dict[str, str]:
    """Return what each variable that belongs to an optimizer is, by key."""
    graph = checkpoint.graph
    nodes = frozenset(_optimizer_nodes(graph))
    found = {key: "state of the optimizer" for key in checkpoint.specs if graph.node_of_key.get(key) in nodes}
    slots = {key: _slot(graph, key, graph.node_of_key.get(key)) for key in checkpoint.specs}
    return found | {key: slot for key, slot in slots.items() if slot is not None}


def _slot(graph: ObjectGraph, key: str, node: int | None) -> str | None:
    if key in graph.slots:
        original, name = graph.slots[key]
        return f"slot {name!r} of {original}"
    if graph.stored or node is None:
        return None
    parent, _, name = key.rpartition("/")
    if parent in graph.node_of_key and name.rstrip("_0123456789") in _TF1_SLOTS:
        return f"slot {name!r} of {parent}"
    return None


def _optimizer_nodes(graph: ObjectGraph) -> Iterator[int]:
    """Yield every node below an optimizer that is not also part of a model."""
    roots: set[int] = set()
    for node in graph.nodes:
        roots.update(child for name, child in node.children.items() if name in _OPTIMIZER_EDGES)
    outside = set(graph.reachable(0, avoid=frozenset(roots))) if roots else set()
    for root in roots:
        yield from (node for node in graph.reachable(root) if node not in outside)


def _purpose(path: str, full_name: str) -> str | None:
    """Return what a variable that is no weight is for, or None."""
    if _WRAPPER in path.split("/"):
        return "a range, mask or counter of a wrapper for quantisation or pruning"
    return _bookkeeping(path, full_name)


def _bookkeeping(path: str, full_name: str) -> str | None:
    leaf = path.rpartition("/")[2]
    if leaf in _COUNTERS or path.split("/.ATTRIBUTES", maxsplit=1)[0].rpartition("/")[2] in _COUNTERS:
        return "the object graph" if leaf.startswith("_CHECKPOINTABLE") else "a counter"
    if path.startswith(COPIES):
        return "Keras's second copy of a variable"
    if not _GENERATORS.isdisjoint(path.split("/")) or full_name.endswith("seed_generator_state"):
        return "state of a random generator"
    if "keras_api/metrics" in path or path.startswith(_METRICS):
        return "a training metric"
    if "/.ATTRIBUTES/" in path and not path.endswith("VARIABLE_VALUE"):
        return "configuration of a Python object"
    return None
