"""One stage as a program of layers that can be run, searched and edited."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar, Union

import numpy as np

from porter.diagnosis.arithmetic import ACTIVATIONS, GATES, ROUNDINGS, Padding, Values, conv2d, softmax


@dataclass(frozen=True, eq=False)
class Conv:
    """A convolution.

    Attributes:
        name: Module name in the PyTorch network.
        kernel: (O, C / groups, h, w).
        bias: (O,), or None.
        stride: Step between two outputs, in pixels.
        padding: Whose convention.
        groups: 1, or the number of channels.
        rounding: What both operands are rounded to first, or None.
    """

    name: str
    kernel: Values
    bias: Values | None = None
    stride: int = 1
    padding: Padding = "same"
    groups: int = 1
    rounding: str | None = None

    def apply(self, x: Values) -> Values:
        """(N, C, H, W) to (N, O, ceil(H / stride), ceil(W / stride))."""
        kernel = self.kernel
        if self.rounding is not None:
            x, kernel = ROUNDINGS[self.rounding](x), ROUNDINGS[self.rounding](kernel)
        out = conv2d(x, kernel, self.stride, self.padding, self.groups)
        return out if self.bias is None else out + self.bias[:, None, None]


@dataclass(frozen=True, eq=False)
class BatchNorm:
    """Batch normalisation with stored statistics; every vector is (C,)."""

    name: str
    gamma: Values
    beta: Values
    mean: Values
    variance: Values
    epsilon: float

    def apply(self, x: Values) -> Values:
        """(N, C, H, W) to the same. A negative variance gives NaN, as in every framework."""
        with np.errstate(invalid="ignore", divide="ignore"):
            slope = self.gamma / np.sqrt(self.variance + self.epsilon)
            offset = self.beta - self.mean * slope
            return x * slope[:, None, None] + offset[:, None, None]


@dataclass(frozen=True, eq=False)
class Elementwise:
    """An elementwise function; ``"identity"`` marks a place where there could be one."""

    name: str
    function: str

    def apply(self, x: Values) -> Values:
        """Any shape to the same."""
        return ACTIVATIONS[self.function](x)


@dataclass(frozen=True, eq=False)
class Scale:
    """A layer scale: one factor per channel, (C,)."""

    name: str
    gamma: Values

    def apply(self, x: Values) -> Values:
        """(N, C, H, W) to the same."""
        return x * self.gamma[:, None, None]


@dataclass(frozen=True, eq=False)
class GlobalPool:
    """The mean over all pixels."""

    name: str

    def apply(self, x: Values) -> Values:
        """(N, C, H, W) to (N, C, 1, 1); what has been pooled already, (N, C), stays."""
        if x.ndim == 2:
            return x
        mean: Values = x.mean(axis=(2, 3), keepdims=True)
        return mean


@dataclass(frozen=True, eq=False)
class Dense:
    """A classifier on flattened features: weight (O, I), bias (O,) or None."""

    name: str
    weight: Values
    bias: Values | None = None
    rounding: str | None = None

    def apply(self, x: Values) -> Values:
        """(N, I, 1, 1) or (N, I) to (N, O)."""
        flat, weight = x.reshape(len(x), -1), self.weight
        if self.rounding is not None:
            flat, weight = ROUNDINGS[self.rounding](flat), ROUNDINGS[self.rounding](weight)
        out = flat @ weight.T
        return out if self.bias is None else out + self.bias


@dataclass(frozen=True, eq=False)
class Gate:
    """Squeeze and excitation: the input times a factor per channel that `body` makes of its mean."""

    name: str
    body: Program
    function: str


@dataclass(frozen=True, eq=False)
class Attention:
    """Multi-query attention: every head has its queries, all share keys and values."""

    name: str
    query: Program
    key: Program
    value: Program
    output: Program
    heads: int


@dataclass(frozen=True, eq=False)
class Residual:
    """`body` plus the input, or plus `shortcut` of the input. Without `added` the body alone."""

    name: str
    body: Program
    shortcut: Program = ()
    added: bool = True


Layer = Union[  # noqa: UP007 - the names are not defined yet where a string annotation would be evaluated
    Conv, BatchNorm, Elementwise, Scale, GlobalPool, Dense, Gate, Attention, Residual
]
Program = tuple[Layer, ...]
_COMPOSITES = {
    Gate: ("body",),
    Attention: ("query", "key", "value", "output"),
    Residual: ("body", "shortcut"),
}


@dataclass(slots=True)
class Machine:
    """Runs programs, and remembers what the unedited one gave so that only what an edit changes is redone.

    Attributes:
        learning: Whether results are kept. Keys are object identities, so everything kept stays alive.
        fused: Whether attention weights that are NaN count as 0, as in PyTorch's fused CPU kernel
            (2.15: for up to about 16 queries; larger ones give NaN).
    """

    learning: bool = False
    fused: bool = False
    _known: dict[tuple[int, int], tuple[Layer, Values, Values]] = field(default_factory=dict)

    def run(self, program: Program, x: Values) -> Values:
        """Return what the last layer gives for `x`, (N, C, H, W)."""
        for layer in program:
            known = self._known.get((id(layer), id(x)))
            if known is not None:
                x = known[2]
                continue
            out = self._layer(layer, x)
            if self.learning:
                self._known[id(layer), id(x)] = (layer, x, out)
            x = out
        return x

    def _layer(self, layer: Layer, x: Values) -> Values:
        if isinstance(layer, Residual):
            out = self.run(layer.body, x)
            return out + self.run(layer.shortcut, x) if layer.added else out
        if isinstance(layer, Gate):
            pooled: Values = x.mean(axis=(2, 3), keepdims=True)
            return x * GATES[layer.function](self.run(layer.body, pooled))
        if isinstance(layer, Attention):
            return self._attention(layer, x)
        return layer.apply(x)

    def _attention(self, layer: Attention, x: Values) -> Values:
        n, _, h, w = x.shape
        key, value = self.run(layer.key, x), self.run(layer.value, x)
        keys, values = (t.reshape(n, 1, t.shape[1], -1) for t in (key, value))
        queries = self.run(layer.query, x).reshape(n, layer.heads, keys.shape[2], h * w)
        weights = softmax(queries.swapaxes(2, 3) @ keys / np.sqrt(keys.shape[2]))
        if self.fused:
            weights = np.nan_to_num(weights)
        mixed = (weights @ values.swapaxes(2, 3)).swapaxes(2, 3)
        return self.run(layer.output, mixed.reshape(n, -1, h, w))


def layers(program: Program) -> Iterator[Layer]:
    """Yield every layer, the inner ones after the one that holds them."""
    for layer in program:
        yield layer
        for name in _COMPOSITES.get(type(layer), ()):
            yield from layers(getattr(layer, name))


def edited(program: Program, edits: Mapping[Layer, Layer]) -> Program:
    """Return the program with some layers replaced. What is unchanged stays the same object."""
    return tuple(_edited_layer(layer, edits) for layer in program)


def _edited_layer(layer: Layer, edits: Mapping[Layer, Layer]) -> Layer:
    layer = edits.get(layer, layer)
    changed: dict[str, Any] = {}
    for name in _COMPOSITES.get(type(layer), ()):
        old: Program = getattr(layer, name)
        new = edited(old, edits)
        if any(a is not b for a, b in zip(old, new, strict=True)):
            changed[name] = new
    return replace(layer, **changed) if changed else layer


def tensors(layer: Layer) -> Iterator[tuple[str, Values]]:
    """Yield the attribute name and value of every stored tensor of a layer."""
    for item in fields(layer):
        value = getattr(layer, item.name)
        if isinstance(value, np.ndarray):
            yield item.name, value


LayerT = TypeVar("LayerT", bound=Layer)


def with_tensors(layer: LayerT, values: Mapping[str, Values]) -> LayerT:
    """Return a layer with other values for the attributes named."""
    changed: dict[str, Any] = dict(values)
    return replace(layer, **changed)
