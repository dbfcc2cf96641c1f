"""Moving averages that an optimizer of Keras holds of a model's variables, told by names or by positions.

Every optimizer of Keras that was made with ``use_ema=True`` lists its averages directly behind its counters
and in front of everything else, in the order of the model's trainable variables. tf_keras calls them
``Adam/average/<variable>``, Keras 3 ``adam/<variable, "/" as "_">_average``, the wrappers of TensorFlow
Addons (MovingAverage, SWA) ``<optimizer>/<variable>/average``.

Source: BaseOptimizer.build of Keras 3.15 and _BaseOptimizer.build of tf_keras 2.20.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from porter.core.checkpoint import Array, TensorSpec
from porter.core.object_graph import Node, Slot

AVERAGE = "average"
_LISTED = "_model_variables_moving_average"  # the attribute of both generations' optimizers
_COUNTERS = ("iteration", "iterations", "iter")
_MOST_COUNTERS = 2  # iteration, and learning_rate if it is a variable
# An optimizer's name comes first only if its variables were made within a scope of that name.
_PREFIX = re.compile(rf"(?:^|/){AVERAGE}/(?P<rest>.+)")
_NAMED = re.compile(rf"(?:^|/){AVERAGE}/|[/_]{AVERAGE}$")
_UNPLACED = "its optimizer holds moving averages that cannot be told apart by their names"
_UNPLACED_BY_POSITION = (
    "its optimizer holds moving averages in an order that does not fit the model's trainable variables"
)
_UNDECIDED = "its optimizer's variables may or may not be moving averages: the file does not tell"
# Relative distance of an average from its variable is a few percent, that of a momentum or a gradient 1.
_NEAR, _FAR = 0.5, 0.9
_MOST_COMPARED = 6
_MOST_ELEMENTS = 1 << 22
_FLOATS = ("float32", "float64", "float16")

Stored = Sequence[tuple[str, TensorSpec]]
"""Key and spec of variables, in order."""


def add_averages(nodes: list[Node], read: Callable[[str], Array], optimizer: Iterable[int] = ()) -> str:
    """Make slots of the averages that full names tell.

    Args:
        nodes: The nodes of one object graph; the root is given the slots.
        read: Reads a variable; a counter of steps alone is read.
        optimizer: Nodes known to be an optimizer's, any of which must be placed if its name is an average's.

    Returns:
        Why some averages could not be placed; "" if all were, or none is there.
    """
    if not any(AVERAGE in node.full_name for node in nodes):
        return ""
    listed = set(_listed(nodes))
    listed.update(number for number in optimizer if _NAMED.search(plain(nodes[number].full_name)))
    raws = _by_name(nodes)
    flat = _flattened(raws)
    slots = []
    for number, node in enumerate(nodes):
        if AVERAGE in node.full_name and node.key is not None:
            original = next(
                (raw for raw in _originals(plain(node.full_name), raws, flat) if raw != number), None
            )
            if original is not None:
                slots.append(Slot(AVERAGE, original, number))
                listed.discard(number)
    if not slots and not listed:
        return ""
    if has_not_begun(((node.full_name, node.key) for node in nodes), read):
        return ""
    nodes[0].slots += tuple(slots)
    return _UNPLACED if listed else ""


def has_not_begun(variables: Iterable[tuple[str, str | None]], read: Callable[[str], Array]) -> bool:
    """Whether the optimizer has made no step: Keras 3 then holds zeros where averages will be.

    Args:
        variables: Full name and key of each variable.
        read: Reads one.
    """
    steps = [
        key for name, key in variables if key is not None and plain(name).rpartition("/")[2] in _COUNTERS
    ]
    return bool(steps) and all(not read(key).any() for key in steps)


def averages_by_position(
    state: Stored, trainable: Stored, read: Callable[[str], Array], *, is_used: bool | None
) -> tuple[dict[str, str], str]:
    """Find the averages in an optimizer's variables that have numbers for names.

    Args:
        state: The optimizer's variables, in its order.
        trainable: The model's trainable variables, in the model's order; what comes behind may be missing.
        read: Reads a variable.
        is_used: Whether the optimizer is said to hold averages; None to decide it by the values.

    Returns:
        Key of the average by the variable's own key, and why there is none although there may be some.
    """
    counters = 0
    while counters < min(_MOST_COUNTERS, len(state)) and state[counters][1].shape == ():
        counters += 1
    found = state[counters : counters + len(trainable)]
    if is_used is False or not trainable or not found:
        return {}, ""
    if counters and not read(state[0][0]).any():  # no step was made: Keras 3 holds zeros
        return {}, ""
    if [spec.shape for _, spec in found] != [spec.shape for _, spec in trainable]:
        return {}, _UNPLACED_BY_POSITION if is_used else ""
    averages = {raw: average for (raw, _), (average, _) in zip(trainable, found, strict=True)}
    near = _are_near(averages, dict(trainable), read) if is_used is None else True
    return (averages if near else {}), _UNDECIDED if near is None else ""


def _are_near(
    averages: Mapping[str, str], specs: Mapping[str, TensorSpec], read: Callable[[str], Array]
) -> bool | None:
    """Whether values are near those of the variables that they may be averages of; None in between."""
    readable = [
        raw for raw, spec in specs.items() if spec.dtype.name in _FLOATS and spec.size <= _MOST_ELEMENTS
    ]
    compared = sorted(readable, key=lambda raw: specs[raw].size, reverse=True)[:_MOST_COMPARED]
    distances = []
    for raw in compared:
        values = read(raw).astype(np.float64)
        if size := float(np.linalg.norm(values)):
            distances.append(float(np.linalg.norm(values - read(averages[raw]))) / size)
    if not distances or not np.isfinite(distances).all():
        return None
    middle = float(np.median(distances))
    return True if middle < _NEAR else False if middle > _FAR else None


def _listed(nodes: list[Node]) -> Iterator[int]:
    for node in nodes:
        if _LISTED in node.children:
            averages = nodes[node.children[_LISTED]].children.values()
            yield from (number for number in averages if nodes[number].key is not None)


def _by_name(nodes: list[Node]) -> Mapping[str, int]:
    """Return the node of each full name; a name that two variables have tells nothing."""
    found: dict[str, int] = {}
    keys: dict[str, str] = {}
    for number, node in enumerate(nodes):
        if node.key is not None and node.full_name:
            name = plain(node.full_name)
            if keys.setdefault(name, node.key) != node.key:
                found.pop(name, None)
            else:
                found[name] = number
    return found


def _flattened(raws: Mapping[str, int]) -> Mapping[str, int]:
    found: dict[str, int] = {}
    twice = set()
    for name, number in raws.items():
        flat = name.replace("/", "_")
        if flat in found:
            twice.add(flat)
        found[flat] = number
    return {flat: number for flat, number in found.items() if flat not in twice}


def _originals(name: str, raws: Mapping[str, int], flat: Mapping[str, int]) -> Iterator[int]:
    """Yield the variables that an average of this name may be of, by each way of naming."""
    prefixed = _PREFIX.search(name)
    if prefixed and prefixed["rest"] in raws:
        yield raws[prefixed["rest"]]
    rest = name.partition("/")[2]
    if rest.endswith(f"/{AVERAGE}") and (raw := rest.removesuffix(f"/{AVERAGE}")) in raws:
        yield raws[raw]
    if rest.endswith(f"_{AVERAGE}") and (raw := rest.removesuffix(f"_{AVERAGE}")) in flat:
        yield flat[raw]


def plain(name: str) -> str:
    """Return a variable's name without the number of the output that it is."""
    return re.sub(r":\d+$", "", name)
