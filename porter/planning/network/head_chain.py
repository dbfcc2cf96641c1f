"""The head of a person's own model, read from the network that the source stores."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from porter.core.head import BRANCHES, POOLS, HeadStep
from porter.core.stored_network import Operation, StoredNetwork
from porter.planning.network.early_end import last_with
from porter.planning.network.findings import NO_LOGITS
from porter.planning.network.head_steps import HeadPart, Shapes, UnstatableError, read_steps
from porter.planning.network.layer_pairing import ACTIVATIONS, told

_SHAPES = ("flatten", "reshape")
_VECTORS = ("flatten", *POOLS)
_MAPS = ("input", "conv", "depthwise_conv")


class HeadChain(NamedTuple):
    """A head as the source states it.

    Attributes:
        parts: Its steps in order, without the activation that ends it, those of each branch last.
        activation: What ends it, e.g. ``"softmax"``; None for nothing, so that it gives logits;
            ``"identity"`` for nothing, although it gives none.
        takes_map: Whether it begins with a map (N, H, W, C), and not with a vector (N, C).
        outputs: The source's names of what it gives.
    """

    parts: tuple[HeadPart, ...]
    activation: str | None
    takes_map: bool
    outputs: tuple[str, ...]

    @property
    def steps(self) -> tuple[HeadStep, ...]:
        """The head's modules, in order; the steps of branches stand inside the last."""
        trunk = [part.step for part in self.parts if "." not in part.place]
        if len(self.outputs) == 1:
            return tuple(trunk)
        branches = [
            [[part.step.kind, dict(part.step.attributes)] for part in self.branch(number)]
            for number in range(len(self.outputs))
        ]
        return (*trunk, HeadStep(BRANCHES, {BRANCHES: branches}))

    def branch(self, number: int) -> tuple[HeadPart, ...]:
        """Return the steps that lead from where the head forks to one of its outputs."""
        return tuple(part for part in self.parts if part.place.split(".")[1:2] == [str(number)])


class Outside(NamedTuple):
    """Why what follows a backbone is no head that a port holds.

    Attributes:
        operation: The first of its operations that is no step of one.
    """

    operation: Operation


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
    fork, trunk = _trunk(network, last if end is None else end)
    if end is None:
        if passed is None:
            passed = next((n for n, o in enumerate(trunk) if o.kind not in ACTIVATIONS), len(trunk))
        if len(trunk) < passed:
            return None
        trunk = trunk[passed:]
    try:
        branches = _branches(network, fork)
        listed = [*trunk, *(operation for branch in branches for operation in branch)]
        _require_all(network, own, listed)
        takes_map = _gives_map(network.operations, last if end is None else end)
        if not branches:
            return _single(trunk, shapes, takes_map=takes_map) if trunk else None
        return _several(network, trunk, branches, shapes, takes_map=takes_map)
    except UnstatableError as error:
        return Outside(error.operation)


def _gives_map(operations: Sequence[Operation], number: int) -> bool:
    """Whether an operation gives a map (N, H, W, C); a pool gives a vector, and a map times that is a map."""
    operation = operations[number]
    if operation.kind in _VECTORS or operation.kind in _MAPS:
        return operation.kind in _MAPS
    return any(_gives_map(operations, each) for each in operation.inputs)


def _require_all(network: StoredNetwork, own: Collection[str], listed: Collection[Operation]) -> None:
    missing = {*own} - {key for operation in listed for key in operation.variables.values()}
    for operation in network.operations:
        if missing & {*operation.variables.values()}:
            raise UnstatableError(operation)


def _trunk(network: StoredNetwork, number: int) -> tuple[int, list[Operation]]:
    """Return what follows an operation until the network returns it or forks, and the number of its end."""
    found: list[Operation] = []
    while number not in network.outputs and (following := _next(network.operations, number)) is not None:
        number, operation = following
        found.append(operation)
    return number, found


def _next(operations: Sequence[Operation], number: int) -> tuple[int, Operation] | None:
    """Return the one operation that takes another's output, two pools that are joined as one."""
    users = [n for n, o in enumerate(operations) if number in o.inputs]
    if len(users) == 1:
        return users[0], operations[users[0]]
    joins = {n for user in users for n, o in enumerate(operations) if user in o.inputs}
    kinds = [operations[user].kind for user in users]
    if sorted(kinds) != ["global_avg_pool", "global_max_pool"] or len(joins) != 1:
        return None
    join = joins.pop()
    joined = operations[join]
    if joined.kind != "concat" or [operations[n].kind for n in joined.inputs] != list(POOLS[:2]):
        return None
    return join, joined._replace(kind=POOLS[2], attributes={})


def _branches(network: StoredNetwork, fork: int) -> list[list[Operation]]:
    """Return the operations between a fork and each output; nothing if the fork is the only output.

    Raises:
        UnstatableError: they are no chains, or share an operation.
    """
    if {*network.outputs} == {fork}:
        return []
    taken: dict[int, int] = {}
    found = []
    for place, output in enumerate(network.outputs):
        numbers = list(_back(network.operations, output, fork))[::-1]
        for number in numbers:
            if taken.setdefault(number, place) != place:
                raise UnstatableError(network.operations[number])
        found.append([network.operations[number] for number in numbers])
    return found


def _back(operations: Sequence[Operation], number: int, fork: int) -> Iterator[int]:
    while number != fork:
        operation = operations[number]
        if number < fork or len(operation.inputs) != 1:
            raise UnstatableError(operation)
        yield number
        number = operation.inputs[0]


def _single(following: Sequence[Operation], shapes: Shapes, *, takes_map: bool) -> HeadChain:
    weighted = max((n for n, operation in enumerate(following) if operation.variables), default=-1)
    body, rest = following[: weighted + 1], following[weighted + 1 :]
    parts, is_map = read_steps(body, shapes, is_map=takes_map)
    rest = [operation for operation in rest if is_map or operation.kind not in _SHAPES]
    activation = None
    if rest and rest[-1].kind in ACTIVATIONS:
        activation = told(rest.pop())
    elif any(operation.kind in ACTIVATIONS for operation in rest):
        activation = NO_LOGITS  # an average of activations, of which no softmax makes probabilities
    parts, is_map = read_steps([*body, *rest], shapes, is_map=takes_map)
    if is_map:
        raise UnstatableError(following[-1])
    return HeadChain(parts, activation, takes_map, (following[-1].name,))


def _several(
    network: StoredNetwork,
    trunk: Sequence[Operation],
    branches: Sequence[Sequence[Operation]],
    shapes: Shapes,
    *,
    takes_map: bool,
) -> HeadChain:
    parts, is_map = read_steps(trunk, shapes, is_map=takes_map)
    forked = len(parts)
    for number, branch in enumerate(branches):
        own, gives_map = read_steps(branch, shapes, is_map=is_map, place=f"{forked}.{number}.")
        if gives_map:
            raise UnstatableError(network.operations[network.outputs[number]])
        parts = (*parts, *own)
    names = tuple(network.operations[number].name for number in network.outputs)
    return HeadChain(parts, NO_LOGITS, takes_map, names)
