"""What could be wrong with a stage: each fault as an edit of the stage's program, most usual first."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from porter.core.checkpoint import Array
from porter.diagnosis.arithmetic import ACTIVATIONS, GATES, ROUNDINGS, Values
from porter.diagnosis.program import (
    BatchNorm,
    Conv,
    Dense,
    Elementwise,
    Gate,
    Layer,
    Program,
    Residual,
    Scale,
    layers,
    tensors,
    with_tensors,
)

# Defaults of PyTorch, of Keras and the Model Garden, of the published TPU configurations, and of
# tf_keras.applications.ResNet.
EPSILONS = (1e-5, 1e-3, 1e-6, 1e-4, 1e-2, 1.001e-5, 1e-8, 0.0)
_LEAVES = {
    "kernel": "weight",
    "mean": "running_mean",
    "variance": "running_var",
    "beta": "bias",
    "gamma": "weight",
}
_SWAPPED = {"gamma": "scale", "beta": "offset", "mean": "moving mean", "variance": "moving variance"}


@dataclass(frozen=True)
class Hypothesis:
    """One possible fault.

    Attributes:
        cause: Stable code of the finding.
        difference: What is different, as words that follow "with".
        place: The layer or tensor to look at.
        edits: The fault itself: layers of the program and what replaces them.
    """

    cause: str
    difference: str
    place: str
    edits: Mapping[Layer, Layer]


def usual(program: Program) -> Iterator[Hypothesis]:
    """Yield the faults of arguments and of whole vectors, most usual first.

    Args:
        program: The stage as it should be.
    """
    for family in (_whole_stage, _paddings, _epsilons, _statistics, _functions, _branches):
        yield from family(program)


def unusual(program: Program, weights: Mapping[str, Array]) -> Iterator[Hypothesis]:
    """Yield the faults of values: layouts, precision, and tensors in each other's place.

    Args:
        program: The stage as it should be.
        weights: All tensors of the network in its order, for values that belong to another stage.
    """
    for family in (_axes, _labels, _defaults, _precisions, _exchanges_inside):
        yield from family(program)
    yield from _foreign_values(program, weights, same_role=True)
    yield from _orders(program)
    yield from _foreign_values(program, weights, same_role=False)


def tensor_name(layer: Layer, attribute: str) -> str:
    """Return the name of a layer's tensor in the PyTorch state dict."""
    leaf = "gamma" if isinstance(layer, Scale) else _LEAVES.get(attribute, attribute)
    return f"{layer.name}.{leaf}"


def _whole_stage(program: Program) -> Iterator[Hypothesis]:
    every = list(layers(program))
    strided = _strided(program)
    if len(strided) > 1:
        edits: dict[Layer, Layer] = {conv: _other_padding(conv) for conv in strided}
        yield Hypothesis("padding", "symmetric padding in all strided convolutions", strided[0].name, edits)
    norms = [layer for layer in every if isinstance(layer, BatchNorm)]
    if len(norms) > 1:
        for epsilon in EPSILONS:
            edits = {norm: replace(norm, epsilon=epsilon) for norm in norms}
            difference = f"batch normalisation epsilon {epsilon:g} for {norms[0].epsilon:g} throughout"
            yield Hypothesis("bn-epsilon", difference, norms[0].name, edits)
    acts = [layer for layer in every if isinstance(layer, Elementwise) and layer.function != "identity"]
    if len(acts) > 1:
        for function in ACTIVATIONS:
            edits = {act: replace(act, function=function) for act in acts}
            difference = f"{_named(function)} for {acts[0].function} throughout"
            yield Hypothesis("activation", difference, acts[0].name, edits)


def _strided(program: Program) -> list[Conv]:
    return [c for c in layers(program) if isinstance(c, Conv) and c.stride > 1 and c.kernel.shape[2] > 1]


def _other_padding(conv: Conv) -> Conv:
    return replace(conv, padding="symmetric" if conv.padding == "same" else "same")


def _paddings(program: Program) -> Iterator[Hypothesis]:
    for conv in _strided(program):
        new = _other_padding(conv)
        difference = f"{new.padding} padding for {conv.padding} in {conv.name} (stride {conv.stride})"
        yield Hypothesis("padding", difference, conv.name, {conv: new})


def _epsilons(program: Program) -> Iterator[Hypothesis]:
    for norm in _norms(program):
        for epsilon in EPSILONS:
            if epsilon != norm.epsilon:
                difference = f"batch normalisation epsilon {epsilon:g} for {norm.epsilon:g} in {norm.name}"
                yield Hypothesis("bn-epsilon", difference, norm.name, {norm: replace(norm, epsilon=epsilon)})


def _norms(program: Program) -> list[BatchNorm]:
    return [layer for layer in layers(program) if isinstance(layer, BatchNorm)]


def _statistics(program: Program) -> Iterator[Hypothesis]:
    pairs = [("mean", "variance"), ("gamma", "beta")]
    pairs += [pair for pair in itertools.combinations(_SWAPPED, 2) if pair not in pairs]
    for (a, b), norm in itertools.product(pairs, _norms(program)):
        new = with_tensors(norm, {a: getattr(norm, b), b: getattr(norm, a)})
        difference = f"{_SWAPPED[a]} and {_SWAPPED[b]} of {norm.name} exchanged"
        yield Hypothesis("swapped-statistics", difference, norm.name, {norm: new})


def _functions(program: Program) -> Iterator[Hypothesis]:
    for layer in layers(program):
        if isinstance(layer, Scale):
            ones = replace(layer, gamma=np.ones_like(layer.gamma))
            yield Hypothesis("layer-scale", f"no layer scale {layer.name}", layer.name, {layer: ones})
        known = {Elementwise: ACTIVATIONS, Gate: GATES}.get(type(layer))
        if known is None or not isinstance(layer, Elementwise | Gate):
            continue
        cause = "activation" if isinstance(layer, Elementwise) else "hard-sigmoid"
        for function in known:
            if function != layer.function:
                difference = f"{_named(function)} for {_named(layer.function)} after {layer.name}"
                yield Hypothesis(cause, difference, layer.name, {layer: replace(layer, function=function)})


def _named(function: str) -> str:
    return "no activation" if function == "identity" else function


def _branches(program: Program) -> Iterator[Hypothesis]:
    for layer in layers(program):
        if isinstance(layer, Residual):
            difference = "no residual addition" if layer.added else "a residual addition"
            yield Hypothesis(
                "residual", difference, layer.name, {layer: replace(layer, added=not layer.added)}
            )


def _axes(program: Program) -> Iterator[Hypothesis]:
    for name, layer, attribute, kernel in _kernels(program):
        for difference, change in _MISREADINGS.items():
            new = change(kernel)
            if new is not None and not np.array_equal(new, kernel):
                yield _changed("kernel-layout", f"{name} {difference}", layer, attribute, new)


def _kernels(program: Program) -> Iterator[tuple[str, Layer, str, Values]]:
    for layer in layers(program):
        if isinstance(layer, Conv | Dense):
            attribute = "kernel" if isinstance(layer, Conv) else "weight"
            yield tensor_name(layer, attribute), layer, attribute, getattr(layer, attribute)


def _changed(cause: str, difference: str, layer: Layer, attribute: str, value: Values) -> Hypothesis:
    new = with_tensors(layer, {attribute: value})
    return Hypothesis(cause, difference, tensor_name(layer, attribute), {layer: new})


def _square_taps(kernel: Values) -> Values | None:
    return kernel.swapaxes(2, 3) if kernel.ndim == 4 and kernel.shape[2] > 1 else None


def _turned(kernel: Values) -> Values | None:
    return kernel[:, :, ::-1, ::-1] if kernel.ndim == 4 and kernel.shape[2] > 1 else None


def _flipped(axis: int) -> Callable[[Values], Values | None]:
    def flip(kernel: Values) -> Values | None:
        return np.flip(kernel, axis) if kernel.ndim == 4 and kernel.shape[2] > 1 else None

    return flip


def _square_channels(kernel: Values) -> Values | None:
    return kernel.swapaxes(0, 1) if kernel.shape[0] == kernel.shape[1] else None


def _as_stored(kernel: Values) -> Values:
    """TensorFlow's bytes taken for PyTorch's: the shape was set, the axes were not moved."""
    if kernel.ndim == 2:
        return np.ascontiguousarray(kernel.T).reshape(kernel.shape)
    # A depthwise kernel is (C, 1, h, w) here and (h, w, C, 1) there.
    order = (2, 3, 0, 1) if kernel.shape[1] == 1 else (2, 3, 1, 0)
    return np.ascontiguousarray(kernel.transpose(order)).reshape(kernel.shape)


_MISREADINGS: Mapping[str, Callable[[Values], Values | None]] = {
    "with rows and columns of its taps exchanged": _square_taps,
    "turned by 180 degrees": _turned,
    "with its rows in reverse": _flipped(2),
    "with its columns in reverse": _flipped(3),
    "with input and output channels exchanged": _square_channels,
    "reshaped from TensorFlow's axis order without moving the axes": _as_stored,
}


def _labels(program: Program) -> Iterator[Hypothesis]:
    for layer in layers(program):
        if isinstance(layer, Dense):
            for shift in (1, -1):
                changes = {name: np.roll(value, shift, axis=0) for name, value in tensors(layer)}
                new = with_tensors(layer, changes)
                difference = f"the classes of {layer.name} shifted by {shift:+d}"
                yield Hypothesis("label-offset", difference, layer.name, {layer: new})


def _defaults(program: Program) -> Iterator[Hypothesis]:
    for norm in _norms(program):
        ones, zeros = np.ones_like(norm.gamma), np.zeros_like(norm.gamma)
        initial = {"gamma": ones, "beta": zeros, "mean": zeros, "variance": ones}
        for names in (("mean", "variance"), tuple(initial), *((name,) for name in initial)):
            new = with_tensors(norm, {name: initial[name] for name in names})
            words = " and ".join(_SWAPPED[name] for name in names)
            difference = f"{words} of {norm.name} at their initial value"
            yield Hypothesis("not-loaded", difference, norm.name, {norm: new})
    for layer in layers(program):
        if isinstance(layer, Conv | Dense) and layer.bias is not None:
            zero = replace(layer, bias=np.zeros_like(layer.bias))
            # Before a normalisation PyTorch's convolution has no bias: it belongs into the mean.
            folded = layer in _before_norms(program)
            cause, difference = (
                ("missing-fold", "not folded into the mean") if folded else ("not-loaded", "at zero")
            )
            yield Hypothesis(cause, f"{layer.name}.bias {difference}", layer.name, {layer: zero})
        if isinstance(layer, Scale):
            # timm's initial value.
            small = replace(layer, gamma=np.full_like(layer.gamma, 1e-5))
            yield Hypothesis("not-loaded", f"{layer.name} at its initial 1e-5", layer.name, {layer: small})


def _before_norms(program: Program) -> set[Layer]:
    every = list(layers(program))
    return {a for a, b in itertools.pairwise(every) if isinstance(a, Conv) and isinstance(b, BatchNorm)}


def _precisions(program: Program) -> Iterator[Hypothesis]:
    products = [layer for layer in layers(program) if isinstance(layer, Conv | Dense)]
    for rounding in ROUNDINGS if products else ():
        every: dict[Layer, Layer] = {layer: replace(layer, rounding=rounding) for layer in products}
        difference = f"the operands of all products rounded to {rounding}"
        yield Hypothesis(f"precision-{rounding}", difference, products[0].name, every)
    for rounding, layer in itertools.product(ROUNDINGS, products if len(products) > 1 else ()):
        difference = f"the operands of {layer.name} rounded to {rounding}"
        edit: dict[Layer, Layer] = {layer: replace(layer, rounding=rounding)}
        yield Hypothesis(f"precision-{rounding}", difference, layer.name, edit)


def _exchanges_inside(program: Program) -> Iterator[Hypothesis]:
    held = [(layer, name, value) for layer in layers(program) for name, value in tensors(layer)]
    for (a, name_a, one), (b, name_b, other) in itertools.combinations(held, 2):
        if a is not b and one.shape == other.shape:
            difference = f"{tensor_name(a, name_a)} and {tensor_name(b, name_b)} exchanged"
            edits = {a: with_tensors(a, {name_a: other}), b: with_tensors(b, {name_b: one})}
            yield Hypothesis("swapped-tensors", difference, tensor_name(a, name_a), edits)
    for a, b in itertools.combinations(_norms(program), 2):
        if a.gamma.shape == b.gamma.shape:
            edits = {a: replace(b, name=a.name), b: replace(a, name=b.name)}
            yield Hypothesis("swapped-tensors", f"{a.name} and {b.name} exchanged", a.name, edits)


def _orders(program: Program) -> Iterator[Hypothesis]:
    for layer in layers(program):
        for attribute, value in tensors(layer):
            for axis in range(min(value.ndim, 2)):
                side = ("output", "input")[axis]
                for difference, order in _permutations(value.shape[axis]):
                    words = f"{tensor_name(layer, attribute)} with its {side} channels {difference}"
                    yield _changed("channel-order", words, layer, attribute, np.take(value, order, axis))


def _permutations(count: int) -> Iterator[tuple[str, NDArray[np.intp]]]:
    indices = np.arange(count)
    if count <= 4:
        for order in itertools.permutations(range(count)):
            if list(order) != list(range(count)):
                yield f"in the order {order}", np.array(order)
        return
    yield "in reverse", indices[::-1]
    for shift in (1, -1):
        yield f"shifted by {shift:+d}", np.roll(indices, shift)
    yield "exchanged in pairs", indices ^ 1 if count % 2 == 0 else indices[::-1]
    for groups in range(2, count // 2 + 1):
        if count % groups == 0:
            difference = f"grouped as {groups} x {count // groups} and read the other way round"
            yield difference, indices.reshape(groups, -1).T.ravel()


def _foreign_values(
    program: Program, weights: Mapping[str, Array], *, same_role: bool
) -> Iterator[Hypothesis]:
    """Yield every tensor of the stage with the values of another one, the nearest first."""
    held = {tensor_name(layer, a): (layer, a, v) for layer in layers(program) for a, v in tensors(layer)}
    position = {name: i for i, name in enumerate(weights)}
    by_shape: dict[tuple[int, ...], list[str]] = {}
    for name, value in weights.items():
        by_shape.setdefault(value.shape, []).append(name)
    pairs = [
        (abs(position[own] - position[other]), own, other)
        for own, (_, _, value) in held.items()
        for other in by_shape.get(value.shape, ())
        if own != other and own in position and (_role(own) == _role(other)) == same_role
    ]
    for _, own, other in sorted(pairs):
        layer, attribute, _ = held[own]
        taken = np.asarray(weights[other], np.float64)
        yield _changed("swapped-tensors", f"the values of {other} in {own}", layer, attribute, taken)


def _role(name: str) -> str:
    return name.rpartition(".")[2]
