"""The head of a person's own model, read from the network that the source stores."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from porter.core.head import BRANCHES, POOLS, HeadStep
from porter.core.stored_network import Operation, StoredNetwork
from porter.planning.network.early_end import last_with
from porter.planning.network.findings import NO_LOGITS
from porter.planning.network.head_nodes import common_source, nodes_between, operations_of
from porter.planning.network.head_steps import (
    HeadPart,
    Joined,
    Node,
    Shapes,
    UnstatableError,
    as_branches,
    read_steps,
)
from porter.planning.network.layer_pairing import ACTIVATIONS, told

_SHAPES = ("flatten", "reshape")
_VECTORS = ("flatten", *POOLS)
_MAPS = ("input", "conv", "depthwise_conv")
# What logits go through and are none any more: no softmax makes probabilities of an average of activations.
_ACTIVATED = (*ACTIVATIONS, "selu", "softsign", "exponential", "prelu", "unit_norm")


class HeadChain(NamedTuple):
    """A head as the source states it.

    Attributes:
        steps: The head's modules in order, without the activation that ends it; the steps of branches stand
            inside a step.
        parts: Each step that is no join, those of branches too, with its variables.
        activation: What ends it, e.g. ``"softmax"``; None for nothing, so that it gives logits;
            ``"identity"`` for nothing, although it gives none.
        takes_map: Whether it begins with a map (N, H, W, C), and not with a vector (N, C).
        outputs: The source's names of what it gives.
    """

    steps: tuple[HeadStep, ...]
    parts: tuple[HeadPart, ...]
    activation: str | None
    takes_map: bool
    outputs: tuple[str, ...]

    def branch(self, number: int) -> tuple[HeadPart, ...]:
        """Return the parts that lead from where the head forks to one of its outputs."""
        place = f"{len(self.steps) - 1}.{number}."
        return tuple(part for part in self.parts if part.place.startswith(place))


class Outside(NamedTuple):
    """Why what follows a backbone is no head that a port holds.

    Attributes:
        operation: The first of its operations that is no step of one.
        reason: Why it is none.
    """

    operation: Operation
    reason: str


def head_chain(
    network: StoredNetwork,
    backbone: Collection[str],
    passed: int | None,
    shapes: Shapes,
    end: int | None = None,
) -> HeadChain | Outside | None:
    """Return what follows the backbone, or None if nothing with variables does.

    Args:
        network: The source's network in its canonical form.
        backbone: Checkpoint keys of the backbone.
        passed: How many operations after the backbone's last layer belong to it: its activation. If that is
            not known, every activation that follows at once does: the table's network has one there.
        shapes: Of the stored variables, by key.
        end: Number of the operation that the backbone ends with, if that is before its own end; what follows
            need have no variables then.
    """
    last = last_with(network, backbone)
    if last is None:
        return None
    own = {key for o in network.operations[last + 1 :] for key in o.variables.values()}
    if end is None and not own:
        return None
    start = _passed(network, last, passed) if end is None else end
    if start is None or {*network.outputs} == {start}:
        return None
    try:
        fork = common_source(network.operations, network.outputs, start)
        trunk = nodes_between(network.operations, start, fork)
        branches = [nodes_between(network.operations, fork, output) for output in network.outputs]
        _require_each_once(network, own, [trunk, *branches])
        # The last layer may be a gate's, whose vector weighs a map; a pool behind it may leave one pixel.
        takes_map = any(_gives_map(network.operations, n) for n in (last if end is None else end, start))
        if len(branches) == 1:
            return _single(trunk, shapes, takes_map=takes_map)
        return _several(network, trunk, branches, shapes, takes_map=takes_map)
    except UnstatableError as error:
        return Outside(error.operation, error.reason)


def _passed(network: StoredNetwork, number: int, passed: int | None) -> int | None:
    """Return the last operation of the backbone, or None if it is left before that."""
    done = 0
    while done != passed:
        users = [n for n, o in enumerate(network.operations) if number in o.inputs]
        follows_at_once = len(users) == 1 and number not in network.outputs
        if passed is None and not (follows_at_once and network.operations[users[0]].kind in ACTIVATIONS):
            return number
        if not follows_at_once:
            return None
        number, done = users[0], done + 1
    return number


def _gives_map(operations: Sequence[Operation], number: int) -> bool:
    """Whether an operation gives a map (N, H, W, C); a pool gives a vector, and a map times that is a map."""
    operation = operations[number]
    if operation.kind in _VECTORS or operation.kind in _MAPS:
        return operation.kind in _MAPS
    return any(_gives_map(operations, each) for each in operation.inputs)


def _require_each_once(
    network: StoredNetwork, own: Collection[str], listed: Iterable[Iterable[Node]]
) -> None:
    """Require that every variable behind the backbone is a part of the head, and of one step of it."""
    taken: set[str] = set()
    for operation in (each for nodes in listed for each in operations_of(nodes)):
        keys = {*operation.variables.values()}
        if taken & keys:
            raise UnstatableError(operation, "is used twice")
        taken |= keys
    for operation in network.operations:
        if {*operation.variables.values()} & {*own} - taken:
            raise UnstatableError(operation)


def _single(trunk: Sequence[Node], shapes: Shapes, *, takes_map: bool) -> HeadChain:
    weighted = [any(operation.variables for operation in operations_of([node])) for node in trunk]
    end = max((n for n, is_weighted in enumerate(weighted) if is_weighted), default=-1) + 1
    body, rest = [*trunk[:end]], [*trunk[end:]]
    is_map = read_steps(body, shapes, is_map=takes_map).is_map
    rest = [node for node in rest if is_map or isinstance(node, Joined) or node.kind not in _SHAPES]
    activation = None
    if rest and isinstance(rest[-1], Operation) and rest[-1].kind in ACTIVATIONS:
        activation = told(rest[-1])
        rest = rest[:-1]
    elif any(map(_gives_activations, [*body[-1:], *rest])):
        activation = NO_LOGITS
    read = read_steps([*body, *rest], shapes, is_map=takes_map)
    last = [*operations_of(trunk[-1:])][-1]
    if read.is_map:
        raise UnstatableError(last)
    return HeadChain(read.steps, read.parts, activation, takes_map, (last.name,))


def _gives_activations(node: Node) -> bool:
    """Whether something is joined that is no logits, or an operation makes something else of them."""
    if isinstance(node, Joined):
        return any(_gives_activations(branch[-1]) for branch in node.branches if branch)
    return node.kind in _ACTIVATED


def _several(
    network: StoredNetwork,
    trunk: Sequence[Node],
    branches: Sequence[Sequence[Node]],
    shapes: Shapes,
    *,
    takes_map: bool,
) -> HeadChain:
    shared = read_steps(trunk, shapes, is_map=takes_map)
    own = [
        read_steps(nodes, shapes, is_map=shared.is_map, place=f"{len(shared.steps)}.{number}.")
        for number, nodes in enumerate(branches)
    ]
    steps = (*shared.steps, HeadStep(BRANCHES, {BRANCHES: as_branches(each.steps for each in own)}))
    parts = (*shared.parts, *(part for each in own for part in each.parts))
    names = tuple(network.operations[number].name for number in network.outputs)
    return HeadChain(steps, parts, NO_LOGITS, takes_map, names)
