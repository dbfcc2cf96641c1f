"""The head of a person's own model, read from the network that the source stores."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from porter.core.head import POOLS, HeadStep
from porter.core.stored_network import Operation, StoredNetwork
from porter.planning.network.findings import NO_LOGITS
from porter.planning.network.layer_pairing import ACTIVATIONS, tail, told

# What a step is called, and what it says beside its kind.
_PLAIN = ("sigmoid", "tanh", "softplus", "swish", "mish")
_SIXTH = {"slope": 1 / 6, "offset": 0.5}
_CLOSE = 1e-6


class HeadChain(NamedTuple):
    """A head as the source states it.

    Attributes:
        steps: What it does, in order, without the activation that ends it.
        variables: Checkpoint keys of each step by role (kernel, bias, gamma, beta, mean, variance); nothing
            for a step without variables.
        layers: The source's name of the layer of each step.
        activation: What ends it, e.g. ``"softmax"``; None for nothing, so that it gives logits;
            ``"identity"`` for nothing, although it gives none.
        takes_map: Whether it begins with a map (N, H, W, C), and not with a vector (N, C).
    """

    steps: tuple[HeadStep, ...]
    variables: tuple[Mapping[str, str], ...]
    layers: tuple[str, ...]
    activation: str | None
    takes_map: bool


class _Unstatable(Exception):  # noqa: N818 (it never leaves this module)
    """An operation that is none of the steps of a head."""


def head_chain(
    network: StoredNetwork,
    backbone: Collection[str],
    passed: int | None,
    shapes: Mapping[str, tuple[int, ...]],
    end: int | None = None,
) -> HeadChain | None:
    """Return what follows the backbone, or None if nothing with variables does, or it is no chain of steps.

    Args:
        network: The source's network in its canonical form.
        backbone: Checkpoint keys of the backbone.
        passed: How many operations after the backbone's last layer belong to it: its activation. If that is
            not known, every activation that follows at once does: the table's network has one there.
        shapes: Of the stored variables, by key.
        end: Number of the operation that the backbone ends with, if that is before its own end; what follows
            need have no variables then.
    """
    last = max((n for n, o in enumerate(network.operations) if _holds(o, backbone)), default=None)
    if last is None:
        return None
    following = list(_following(network.operations, last if end is None else end))
    if end is None:
        if passed is None:
            passed = next((n for n, o in enumerate(following) if o.kind not in ACTIVATIONS), len(following))
        following = following[passed:]
    own = {key for o in network.operations[last + 1 :] for key in o.variables.values()}
    there = {key for operation in following for key in operation.variables.values()}
    if not following or (end is None and not own) or own != there or not _ends(network, following):
        return None
    try:
        return _read(following, network.operations[last], shapes)
    except (_Unstatable, KeyError, TypeError, ValueError, IndexError):
        return None


def _holds(operation: Operation, keys: Collection[str]) -> bool:
    return any(key in keys for key in operation.variables.values())


def _following(operations: Sequence[Operation], last: int) -> Iterator[Operation]:
    """Yield what follows, two pools that are joined as one operation."""
    after = list(tail(operations, last))
    yield from after
    number = last if not after else max(n for n, o in enumerate(operations) if o is after[-1])
    users = [n for n, o in enumerate(operations) if number in o.inputs]
    joins = {n for user in users for n, o in enumerate(operations) if user in o.inputs}
    kinds = [operations[user].kind for user in users]
    if sorted(kinds) != ["global_avg_pool", "global_max_pool"] or len(joins) != 1:
        return
    number = joins.pop()
    join = operations[number]
    if join.kind == "concat" and [operations[n].kind for n in join.inputs] == list(POOLS[:2]):
        yield join._replace(kind=POOLS[2], attributes={})
        yield from tail(operations, number)


def _ends(network: StoredNetwork, following: Sequence[Operation]) -> bool:
    """Whether the chain gives what the network returns, and nothing else is returned."""
    if len(network.outputs) != 1:
        return False
    end = network.operations[network.outputs[0]]
    return following[-1].name == end.name and following[-1].inputs == end.inputs


def _read(
    following: Sequence[Operation], before: Operation, shapes: Mapping[str, tuple[int, ...]]
) -> HeadChain:
    takes_map = before.kind != "dense"
    reader = _Reader(shapes, is_map=takes_map)
    activation = None
    weighted = max((n for n, operation in enumerate(following) if operation.variables), default=-1)
    rest = [o for o in following[weighted + 1 :] if o.kind not in ("flatten", "reshape") or reader.is_map]
    body = [*following[: weighted + 1], *rest]
    if rest and rest[-1].kind in ACTIVATIONS:
        activation = told(body.pop())
    elif any(operation.kind in ACTIVATIONS for operation in rest):
        activation = NO_LOGITS  # an average of activations, of which no softmax makes probabilities
    for operation in body:
        reader.add(operation)
    if reader.is_map:
        raise _Unstatable
    return HeadChain(
        tuple(reader.steps), tuple(reader.variables), tuple(reader.layers), activation, takes_map
    )


class _Reader:
    def __init__(self, shapes: Mapping[str, tuple[int, ...]], *, is_map: bool) -> None:
        self._shapes = shapes
        self.is_map = is_map
        self.steps: list[HeadStep] = []
        self.variables: list[Mapping[str, str]] = []
        self.layers: list[str] = []

    def add(self, operation: Operation) -> None:
        """Add the step that an operation is, if it does anything."""
        kind = operation.kind
        if kind in ("flatten", "reshape") and not self.is_map:
            return
        if kind in (*POOLS, "flatten"):
            if not self.is_map:
                raise _Unstatable
            self.is_map = False
            self._append(operation, HeadStep(kind, {}))
        elif kind in ("dense", "conv"):
            self._append(operation, self._weighted(operation))
        elif kind == "norm":
            self._append(operation, self._norm(operation))
        else:
            self._append(operation, self._activation(operation))

    def _append(self, operation: Operation, step: HeadStep) -> None:
        self.steps.append(step)
        self.layers.append(operation.name)
        roles = {role.removeprefix("moving_"): key for role, key in operation.variables.items()}
        self.variables.append(roles)

    def _weighted(self, operation: Operation) -> HeadStep:
        """A dense layer of a map acts on each pixel, as a 1x1 convolution does."""
        shape = self._shapes[operation.variables["kernel"]]
        *window, inputs, outputs = shape
        attributes = operation.attributes
        is_plain = set(operation.variables) <= {"kernel", "bias"} and attributes.get("groups", 1) == 1
        if not is_plain or any(length != 1 for length in window) or "data_format" in attributes:
            raise _Unstatable
        if operation.kind == "conv" and (attributes["strides"] != (1, 1) or not self.is_map):
            raise _Unstatable
        if operation.kind == "conv" and any(amount for pair in attributes["padding"] for amount in pair):  # type: ignore[attr-defined]
            raise _Unstatable
        sizes = {"inputs": inputs, "outputs": outputs, "bias": "bias" in operation.variables}
        return HeadStep("conv" if self.is_map else "dense", sizes)

    def _norm(self, operation: Operation) -> HeadStep:
        axes = operation.attributes["axes"]
        roles = {role.removeprefix("moving_") for role in operation.variables}
        if axes not in (((-1,), (3,)) if self.is_map else ((-1,), (1,))):
            raise _Unstatable
        if not {"mean", "variance"} <= roles or not roles <= {"gamma", "beta", "mean", "variance"}:
            raise _Unstatable
        if operation.attributes.get("training"):
            raise _Unstatable
        channels = self._shapes[next(iter(operation.variables.values()))][0]
        epsilon = _intended(operation.attributes["epsilon"])
        return HeadStep("norm", {"channels": channels, "epsilon": epsilon, "is_map": self.is_map})

    def _activation(self, operation: Operation) -> HeadStep:
        kind, attributes = operation.kind, operation.attributes
        if kind in _PLAIN or (kind == "softmax" and not self.is_map and not attributes):
            return HeadStep(kind, {})
        if kind in ("hard_sigmoid", "hard_swish") and all(
            abs(float(str(attributes[name])) - value) <= _CLOSE for name, value in _SIXTH.items()
        ):
            return HeadStep(kind, {})
        capped = attributes.get("max_value") is not None and bool(attributes.get("negative_slope"))
        if kind == "relu" and not attributes["threshold"] and not capped:
            named: tuple[str, ...] = ("max_value", "negative_slope")
        elif kind in ("gelu", "elu"):
            named = ("approximate",) if kind == "gelu" else ("alpha",)
        else:
            raise _Unstatable
        return HeadStep(kind, {name: _intended(attributes[name]) for name in named})


def _intended(value: object) -> object:
    """Return the decimal that was meant by a number that a source stores in float32."""
    return float(str(np.float32(value))) if isinstance(value, float) else value
