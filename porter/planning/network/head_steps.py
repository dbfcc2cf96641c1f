"""The steps of a head, one by one, read from the operations of the network that a source stores."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from porter.core.head import BRANCHES, JOIN, POOLS, WINDOWS, HeadStep
from porter.core.stored_network import Operation, plain_role, reshaped_to

_PLAIN = ("sigmoid", "tanh", "softplus", "swish", "mish", "selu", "softsign", "exponential")
_SIXTH = {"slope": 1 / 6, "offset": 0.5}
_CLOSE = 1e-6
_SHAPES = ("flatten", "reshape")
_NO_PADDING = ((0, 0), (0, 0))

Shapes = Mapping[str, tuple[int, ...]]


class UnstatableError(Exception):
    """An operation that is none of the steps of a head.

    Args:
        operation: The operation.
        reason: Why, to be said behind its name.
    """

    def __init__(self, operation: Operation, reason: str = "is none of these") -> None:
        super().__init__(operation.name)
        self.operation, self.reason = operation, reason


class HeadPart(NamedTuple):
    """One step of a head, and where it came from.

    Attributes:
        step: What it does.
        variables: Checkpoint keys by role (kernel, bias, gamma, beta, mean, variance, alpha).
        layer: The source's name of the layer.
        place: The number of its module among those of the head: ``"0"``, or ``"2.1.0"`` in a branch.
    """

    step: HeadStep
    variables: Mapping[str, str]
    layer: str
    place: str


class Joined(NamedTuple):
    """An operation that joins what several chains make of one tensor.

    Attributes:
        operation: What joins, of one of the kinds `JOINS`.
        branches: What leads to each of its inputs, in order; nothing if that is the tensor itself.
    """

    operation: Operation
    branches: tuple[tuple[Node, ...], ...]


Node = Operation | Joined


class Read(NamedTuple):
    """The steps that operations are.

    Attributes:
        steps: In order; those of branches stand inside a step.
        parts: Each step that is no join, those of branches too.
        is_map: Whether the last step gives a map (N, H, W, C), and not a vector (N, C).
    """

    steps: tuple[HeadStep, ...]
    parts: tuple[HeadPart, ...]
    is_map: bool


def read_steps(nodes: Iterable[Node], shapes: Shapes, *, is_map: bool, place: str = "") -> Read:
    """Return the steps that operations are.

    Args:
        nodes: In order.
        shapes: Of the stored variables, by key.
        is_map: Whether the first takes a map (N, H, W, C), and not a vector (N, C).
        place: Of the module that has the steps, with a dot behind it.

    Raises:
        UnstatableError: one is none of the steps of a head.
    """
    reader = _Reader(shapes, place, is_map=is_map)
    for node in nodes:
        operation = node.operation if isinstance(node, Joined) else node
        try:
            if isinstance(node, Joined):
                reader.join(node)
            else:
                reader.add(node)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise UnstatableError(operation) from error
    return Read(tuple(reader.steps), tuple(reader.parts), reader.is_map)


def as_branches(listed: Iterable[Iterable[HeadStep]]) -> list[list[list[object]]]:
    """Return the steps of several branches as a step holds them."""
    return [[[step.kind, dict(step.attributes)] for step in steps] for steps in listed]


class _Reader:
    def __init__(self, shapes: Shapes, place: str, *, is_map: bool) -> None:
        self._shapes, self._place = shapes, place
        self.is_map = is_map
        self.steps: list[HeadStep] = []
        self.parts: list[HeadPart] = []

    def join(self, joined: Joined) -> None:
        """Add the step that runs several branches on one tensor, and joins what they give."""
        operation = joined.operation
        here = f"{self._place}{len(self.steps)}"
        found = [
            read_steps(nodes, self._shapes, is_map=self.is_map, place=f"{here}.{number}.")
            for number, nodes in enumerate(joined.branches)
        ]
        kinds = [[step.kind for step in each.steps] for each in found]
        gives_maps = {each.is_map for each in found}
        if operation.kind == "concat" and kinds == [[pool] for pool in POOLS[:2]]:
            self._append(operation, HeadStep(POOLS[2], {}))
        elif operation.kind == "concat" and not _is_along_channels(operation, gives_maps):
            raise UnstatableError(operation)
        else:
            how = {"how": operation.kind, BRANCHES: as_branches(each.steps for each in found)}
            self.steps.append(HeadStep(JOIN, how))
            self.parts += [part for each in found for part in each.parts]
        self.is_map = any(gives_maps)

    def add(self, operation: Operation) -> None:
        """Add the step that an operation is, if it does anything."""
        kind = operation.kind
        if kind in _SHAPES and not self.is_map:
            self._require_one_pixel(operation)
            return
        if kind in POOLS or (kind in _SHAPES and is_flattening(operation)):
            if not self.is_map:
                raise UnstatableError(operation)
            self.is_map = False
            self._append(operation, HeadStep("flatten" if kind in _SHAPES else kind, {}))
        elif kind in ("dense", "conv"):
            self._append(operation, self._weighted(operation))
        elif kind == "depthwise_conv":
            self._append(operation, self._depthwise(operation))
        elif kind in WINDOWS:
            self._append(operation, _windowed(operation, is_map=self.is_map))
        elif kind in ("norm", "layer_norm"):
            self._append(operation, self._norm(operation))
        elif kind in ("group_norm", "unit_norm", "prelu", "scale"):
            self._append(operation, getattr(self, f"_{kind}")(operation))
        else:
            self._append(operation, _activation(operation, is_map=self.is_map))

    def _require_one_pixel(self, operation: Operation) -> None:
        """Require that a vector becomes no map of several pixels, which could be joined with others."""
        lengths = reshaped_to(operation)
        is_branch = bool(self._place)
        if lengths is not None:
            is_other = any(length not in (1, -1, None) for length in lengths[:-1])
        else:
            is_other = is_branch and operation.kind == "reshape"
        if is_other:
            raise UnstatableError(operation)

    def _append(self, operation: Operation, step: HeadStep) -> None:
        roles = {plain_role(role): key for role, key in operation.variables.items()}
        place = f"{self._place}{len(self.steps)}"
        self.steps.append(step)
        self.parts.append(HeadPart(step, roles, operation.name, place))

    def _weighted(self, operation: Operation) -> HeadStep:
        """A dense layer of a map acts on each pixel, as a 1x1 convolution does."""
        *window, inputs, outputs = self._shapes[operation.variables["kernel"]]
        attributes = operation.attributes
        is_plain = set(operation.variables) <= {"kernel", "bias"} and attributes.get("groups", 1) == 1
        if not is_plain or "data_format" in attributes or (operation.kind == "conv" and not self.is_map):
            raise UnstatableError(operation)
        sizes = {"inputs": inputs, "outputs": outputs, "bias": "bias" in operation.variables}
        if operation.kind == "conv":
            return HeadStep("conv", {**sizes, **_window(operation, window)})
        if any(length != 1 for length in window):
            raise UnstatableError(operation)
        return HeadStep("conv" if self.is_map else "dense", sizes)

    def _depthwise(self, operation: Operation) -> HeadStep:
        keys = {plain_role(role): key for role, key in operation.variables.items()}
        *kernel, channels, multiplier = self._shapes[keys["kernel"]]
        if not set(keys) <= {"kernel", "bias"} or "data_format" in operation.attributes or not self.is_map:
            raise UnstatableError(operation)
        sizes = {"inputs": channels, "outputs": channels * multiplier, "bias": "bias" in keys}
        strides, padding, dilation = (
            operation.attributes[name] for name in ("strides", "padding", "dilation")
        )
        moves = {"kernel": kernel, "strides": strides, "padding": padding, "dilation": dilation}
        return HeadStep("depthwise_conv", {**sizes, **moves})

    def _require_channels(self, operation: Operation) -> None:
        """Require that a norm is over the channels."""
        if operation.attributes["axes"] not in (((-1,), (3,)) if self.is_map else ((-1,), (1,))):
            raise UnstatableError(operation)

    def _group_norm(self, operation: Operation) -> HeadStep:
        self._require_channels(operation)
        (channels,) = {self._shapes[key] for key in operation.variables.values()}.pop()
        groups = int(str(operation.attributes["groups"]))
        epsilon = _intended(operation.attributes["epsilon"])
        whole = {"channels": channels, "groups": channels if groups == -1 else groups, "epsilon": epsilon}
        return HeadStep("group_norm", whole)

    def _unit_norm(self, operation: Operation) -> HeadStep:
        self._require_channels(operation)
        return HeadStep("unit_norm", {"shortest": float(str(operation.attributes["shortest"]))})

    def _prelu(self, operation: Operation) -> HeadStep:
        *pixels, channels = self._shapes[operation.variables["alpha"]]
        if any(length != 1 for length in pixels) or len(pixels) != (2 if self.is_map else 0):
            raise UnstatableError(operation)
        return HeadStep("prelu", {"channels": channels})

    def _scale(self, operation: Operation) -> HeadStep:
        values = {name: float(str(operation.attributes[name])) for name in ("scale", "offset")}
        return HeadStep("scale", values)

    def _norm(self, operation: Operation) -> HeadStep:
        roles = set(map(plain_role, operation.variables))
        statistics = {"mean", "variance"} if operation.kind == "norm" else set()
        self._require_channels(operation)
        is_worked_in = "epsilon" not in operation.attributes  # a converter has left a product and a sum
        if not (statistics <= roles or is_worked_in) or not roles <= {"gamma", "beta", *statistics}:
            raise UnstatableError(operation)
        if operation.attributes.get("training") or not roles:
            raise UnstatableError(operation)
        channels = self._shapes[next(iter(operation.variables.values()))][0]
        epsilon = 0.0 if is_worked_in else _intended(operation.attributes["epsilon"])
        return HeadStep(operation.kind, {"channels": channels, "epsilon": epsilon, "is_map": self.is_map})


def _is_along_channels(operation: Operation, gives_maps: Collection[bool]) -> bool:
    """Whether tensors are joined along their channels: all maps (N, H, W, C), or all vectors (N, C)."""
    return len(gives_maps) == 1 and operation.attributes["axis"] in ((-1,) if True in gives_maps else (-1, 1))


def _windowed(operation: Operation, *, is_map: bool) -> HeadStep:
    """A pool whose padding, if there is any, counts for nothing."""
    attributes = operation.attributes
    padding = _NO_PADDING if attributes["padding"] == "valid" else attributes["padding"]
    if not is_map or "data_format" in attributes or padding not in ("same", _NO_PADDING):
        raise UnstatableError(operation)
    sizes = {"size": attributes["size"], "strides": attributes["strides"], "padding": padding}
    return HeadStep(operation.kind, sizes)


def is_flattening(operation: Operation) -> bool:
    """Whether a map comes out as a vector; in a graph of Keras 3 the shape is computed, and unknown.

    Other axes would not have the length that the dense layer behind them takes: such a port would not run.
    """
    shape = operation.attributes.get("target_shape")
    axes = operation.attributes.get("shape")  # those of the batch, too
    if isinstance(shape, list | tuple):
        return len(shape) == 1
    return not isinstance(axes, list | tuple) or len(axes) == 2


def _window(operation: Operation, kernel: Sequence[int]) -> Mapping[str, object]:
    """Return how a convolution moves over a map; nothing of a plain 1x1 one."""
    attributes = operation.attributes
    strides, padding, dilation = (attributes[name] for name in ("strides", "padding", "dilation"))
    if [*kernel] == [1, 1] and strides == (1, 1) and padding == _NO_PADDING:
        return {}
    return {"kernel": [*kernel], "strides": strides, "padding": padding, "dilation": dilation}


def _activation(operation: Operation, *, is_map: bool) -> HeadStep:
    kind, attributes = operation.kind, operation.attributes
    if kind in _PLAIN or (kind == "softmax" and not is_map and not attributes):
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
        raise UnstatableError(operation)
    return HeadStep(kind, {name: _intended(attributes[name]) for name in named})


def _intended(value: object) -> object:
    """Return the decimal that was meant by a number that a source stores in float32."""
    return float(str(np.float32(value))) if isinstance(value, float) else value
