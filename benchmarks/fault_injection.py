"""Faults of ported networks, each put into a timm model at every place where it applies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import timm
import torch
from model_edits import (
    Change,
    Edit,
    attribute,
    changed,
    exchanged,
    in_tf32,
    narrowed,
    symmetric,
    together,
)
from timm.layers import BatchNormAct2d, Conv2dSame
from timm.layers.attention2d import MultiQueryAttention2d
from timm.models._efficientnet_blocks import MobileAttention, SqueezeExcite, UniversalInvertedResidual
from torch import nn

from porter.tables.variants import Variant

CONTROL = "control: one ulp"
# The softmax over the keys is the same when all of them are moved by one vector, so what a key's
# normalisation adds is no fault whatever it is: (beta - mean x slope) passes linearly into every key alike.
KEYS = "control: offset common to all keys"
CONTROLS = (CONTROL, KEYS)
EVERYWHERE = "everywhere"
_BLOCKS = (UniversalInvertedResidual, MobileAttention)


@dataclass(frozen=True)
class Mutant:
    """A fault at one place.

    Attributes:
        fault: Class of the fault.
        cause: Codes that the diagnosis may give.
        place: Modules or tensors that were changed, joined by "and"; or `EVERYWHERE`.
        change: Makes the context in which the model has the fault.
    """

    fault: str
    cause: tuple[str, ...]
    place: str
    change: Edit


def mutants(model: nn.Module, seed: int = 0) -> Iterator[Mutant]:
    """Yield every mutant of one model. Places are exhaustive; values are drawn from `seed`."""
    draw = np.random.default_rng(seed)
    yield from _paddings(model)
    yield from _epsilons(model, draw)
    yield from _statistics(model)
    yield from _scales(model)
    yield from _activations(model)
    yield from _kernels(model)
    yield from _orders(model, draw)
    yield from _heads(model)
    yield from _labels(model)
    yield from _residuals(model)
    yield from _precisions(model)
    yield from _exchanges(model)
    yield from _unlisted(model, draw)
    yield from _throughout(model)
    yield from _controls(model)


def build(variant: Variant) -> nn.Module:
    """The timm model of a variant in float64, weights not yet set."""
    epsilon = {} if variant.bn_eps is None else {variant.bn_eps.argument: variant.bn_eps.default}
    model: nn.Module = timm.create_model(variant.target.name, **{**variant.target.arguments, **epsilon})
    return model.double().eval()


def is_active(norm: nn.Module) -> bool:
    """Whether a batch normalisation is followed by an activation of its own."""
    return isinstance(norm, BatchNormAct2d) and not isinstance(norm.act, nn.Identity)


def _named(model: nn.Module, kind: type | tuple[type, ...]) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in model.named_modules() if isinstance(module, kind)]


def _norms(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return _named(model, (BatchNormAct2d, nn.BatchNorm2d))


def _strided(model: nn.Module) -> list[str]:
    return [n for n, c in _named(model, Conv2dSame) if c.kernel_size[0] > 1 and c.stride[0] > 1]


def _paddings(model: nn.Module) -> Iterator[Mutant]:
    for name in _strided(model):
        yield Mutant("padding", ("padding",), name, partial(symmetric, model, name))


def _epsilons(model: nn.Module, draw: np.random.Generator) -> Iterator[Mutant]:
    usual = (1e-5, 1e-6, 1e-2, 1e-4)
    for i, (name, norm) in enumerate(_norms(model)):
        values = {"usual": usual[i % len(usual)], "any": float(10 ** draw.uniform(-7, -1.5))}
        for kind, value in values.items():
            change = partial(attribute, norm, "eps", value)
            yield Mutant(f"BN epsilon, {kind} value", ("bn-epsilon",), name, change)


def _statistics(model: nn.Module) -> Iterator[Mutant]:
    pairs = {
        "swapped mean and variance": ("running_mean", "running_var"),
        "swapped scale and offset": ("weight", "bias"),
        "swapped offset and mean": ("bias", "running_mean"),
    }
    for name, norm in _norms(model):
        for fault, (a, b) in pairs.items():
            change = partial(exchanged, getattr(norm, a), getattr(norm, b))
            if name.endswith("attn.key.norm") and fault == "swapped offset and mean":
                yield Mutant(KEYS, (), name, change)
            else:
                yield Mutant(fault, ("swapped-statistics",), name, change)
        zero = partial(changed, norm.running_mean, torch.zeros_like)
        one = partial(changed, norm.running_var, torch.ones_like)
        yield Mutant("statistics not loaded", ("not-loaded",), name, partial(together, zero, one))


def _scales(model: nn.Module) -> Iterator[Mutant]:
    for name, gamma in model.named_parameters():
        if name.endswith("layer_scale.gamma"):
            change = partial(changed, gamma, torch.ones_like)
            yield Mutant("missing layer scale", ("layer-scale",), name, change)


def _activations(model: nn.Module) -> Iterator[Mutant]:
    for name, norm in _named(model, BatchNormAct2d):
        if not is_active(norm):
            others = {"additional ReLU": nn.ReLU()}
        elif isinstance(norm.act, nn.ReLU):
            others = {"GELU for ReLU": nn.GELU(), "ReLU6 for ReLU": nn.ReLU6()}
        else:
            others = {"ReLU for GELU": nn.ReLU(), "tanh GELU for erf GELU": nn.GELU(approximate="tanh")}
        if is_active(norm):
            others["missing activation"] = nn.Identity()
        for fault, act in others.items():
            yield Mutant(fault, ("activation",), name, partial(attribute, norm, "act", act))


def _turned(w: torch.Tensor) -> torch.Tensor:
    return w.flip(2, 3)


def _reshaped(w: torch.Tensor) -> torch.Tensor:
    """TensorFlow's bytes with PyTorch's shape: (h, w, i, o), for depthwise kernels (h, w, c, 1)."""
    order = (2, 3, 0, 1) if w.shape[1] == 1 else (2, 3, 1, 0)
    return w.permute(order).reshape(w.shape)


def _transposed(w: torch.Tensor) -> torch.Tensor:
    return w.transpose(2, 3)


def _exchanged_channels(w: torch.Tensor) -> torch.Tensor:
    return w.transpose(0, 1)


def _kernels(model: nn.Module) -> Iterator[Mutant]:
    for name, conv in _named(model, nn.Conv2d):
        w = conv.weight
        depthwise = conv.groups > 1
        changes: dict[str, Change] = {
            "depthwise order" if depthwise else "reshaped instead of transposed": _reshaped
        }
        if w.shape[2] > 1:
            changes |= {"transposed kernel": _transposed, "kernel turned by 180 degrees": _turned}
        if w.shape[0] == w.shape[1] and not depthwise:
            changes["input and output channels exchanged"] = _exchanged_channels
        for fault, change in changes.items():
            yield Mutant(fault, ("kernel-layout",), f"{name}.weight", partial(changed, w, change))


def _picked(w: torch.Tensor, axis: int, order: np.ndarray) -> torch.Tensor:
    return w.index_select(axis, torch.from_numpy(order))


def _orders(model: nn.Module, draw: np.random.Generator) -> Iterator[Mutant]:
    for name, conv in _named(model, nn.Conv2d):
        for axis, side in ((0, "output"), (1, "input")):
            count = conv.weight.shape[axis]
            if count > 1:
                change = partial(_picked, axis=axis, order=_order(count, draw))
                # Some of these orders are also what a misread axis gives.
                causes = ("channel-order", "kernel-layout")
                edit = partial(changed, conv.weight, change)
                yield Mutant(f"permuted {side} channels", causes, f"{name}.weight", edit)


def _order(count: int, draw: np.random.Generator) -> np.ndarray:
    """An order as layout mistakes make them: reversed, shifted by one, or a grouping read the wrong way."""
    indices = np.arange(count)
    groups = [g for g in (2, 3, 4, 8) if count % g == 0 and g < count]
    choice = int(draw.integers(3))
    if choice == 0 or not groups:
        return indices[::-1].copy()
    if choice == 1:
        return np.roll(indices, int(draw.choice((-1, 1))))
    return indices.reshape(int(draw.choice(groups)), -1).T.ravel().copy()


def _heads(model: nn.Module) -> Iterator[Mutant]:
    fault = "attention heads in the wrong order"
    for name, attention in _named(model, MultiQueryAttention2d):
        heads, width = attention.num_heads, attention.key_dim
        order = np.arange(heads * width).reshape(heads, width).T.ravel().copy()
        for part, axis in (("query", 0), ("output", 1)):
            place = f"{name}.{part}.proj.weight"
            change = partial(_picked, axis=axis, order=order)
            edit = partial(changed, model.get_parameter(place), change)
            yield Mutant(fault, ("channel-order",), place, edit)


def _labels(model: nn.Module) -> Iterator[Mutant]:
    for shift in (1, -1):
        change = partial(torch.roll, shifts=shift, dims=0)
        edits = [partial(changed, p, change) for p in model.get_submodule("classifier").parameters()]
        yield Mutant("label offset", ("label-offset",), "classifier", partial(together, *edits))


def _residuals(model: nn.Module) -> Iterator[Mutant]:
    for name, block in _named(model, _BLOCKS):
        if block.has_skip:
            change = partial(attribute, block, "has_skip", new=False)
            yield Mutant("missing residual", ("residual",), name, change)


def _precisions(model: nn.Module) -> Iterator[Mutant]:
    for name, module in _named(model, (*_BLOCKS, nn.Conv2d)):
        yield Mutant("TF32", ("precision-tf32",), name, partial(in_tf32, module))
    kinds = {
        "bfloat16": (torch.bfloat16, "precision-bf16"),
        "float32 for float64": (torch.float32, "precision-float32"),
    }
    for name, block in _named(model, _BLOCKS):
        for fault, (dtype, cause) in kinds.items():
            yield Mutant(fault, (cause,), name, partial(narrowed, block, dtype))


def _exchanges(model: nn.Module) -> Iterator[Mutant]:
    """Exchange every tensor with the one before of its shape and role, and of its shape and another role."""
    seen: dict[tuple[object, ...], tuple[str, torch.Tensor]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        layer, _, leaf = name.rpartition(".")
        keys = ((tensor.shape, leaf), (tensor.shape,)) if tensor.ndim else ()
        for key in keys:
            other, twin = seen.get(key, (name, tensor))
            other_layer, _, other_leaf = other.rpartition(".")
            moves = [n.endswith(("attn.key.norm.bias", "attn.key.norm.running_mean")) for n in (name, other)]
            if other_layer != layer and (len(key) == 2 or other_leaf != leaf) and not all(moves):
                fault = "swapped tensors of one role" if len(key) == 2 else "swapped tensors of any role"
                edit = partial(exchanged, twin, tensor)
                yield Mutant(fault, ("swapped-tensors",), f"{other} and {name}", edit)
            seen[key] = (name, tensor)


def _unlisted(model: nn.Module, draw: np.random.Generator) -> Iterator[Mutant]:
    """Faults that the diagnosis has no name for: the right answer is that the cause is not known."""
    for name, conv in _named(model, nn.Conv2d)[::8]:
        w, place = conv.weight, f"{name}.weight"
        order = draw.permutation(w.shape[0])
        edit = partial(changed, w, partial(_picked, axis=0, order=order))
        yield Mutant("unlisted: random channel order", ("unknown", "channel-order"), place, edit)
        noise = torch.from_numpy(draw.normal(1.0, 0.01, tuple(w.shape)))
        edit = partial(changed, w, noise.mul)
        yield Mutant("unlisted: 1% noise on a kernel", ("unknown",), place, edit)


def _throughout(model: nn.Module) -> Iterator[Mutant]:
    """The same fault everywhere at once, as a wrong argument makes it."""
    pads = [partial(symmetric, model, name) for name in _strided(model)]
    yield Mutant("padding", ("padding",), EVERYWHERE, partial(together, *pads))
    norms = [norm for _, norm in _norms(model)]
    epsilons = [partial(attribute, norm, "eps", 1e-5) for norm in norms]
    yield Mutant("BN epsilon, usual value", ("bn-epsilon",), EVERYWHERE, partial(together, *epsilons))
    acts = [partial(attribute, norm, "act", nn.SiLU()) for norm in norms if is_active(norm)]
    yield Mutant("another activation everywhere", ("activation",), EVERYWHERE, partial(together, *acts))


def _one_ulp(tensor: torch.Tensor) -> torch.Tensor:
    return tensor * (1 + 2.0**-52)


def _controls(model: nn.Module) -> Iterator[Mutant]:
    for name, tensor in model.state_dict(keep_vars=True).items():
        if tensor.is_floating_point():
            yield Mutant(CONTROL, (), name, partial(changed, tensor, _one_ulp))


class _HardSigmoid(nn.Module):
    """clip(slope x + offset) to 0..top."""

    def __init__(self, slope: float, offset: float, top: float) -> None:
        super().__init__()
        self._parameters_of_gate = (slope, offset, top)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it elementwise."""
        slope, offset, top = self._parameters_of_gate
        return (x * slope + offset).clamp(0.0, top)


def gate_mutants(model: nn.Module) -> Iterator[Mutant]:
    """Yield faults of squeeze-and-excitation gates whose function is the hard sigmoid."""
    gates = {
        "hard-sigmoid constant 0.16667": _HardSigmoid(0.16667, 3 * 0.16667, 6 * 0.16667),
        "hard-sigmoid slope 0.2": _HardSigmoid(0.2, 0.5, 1.0),
        "sigmoid for hard-sigmoid": nn.Sigmoid(),
    }
    for name, block in _named(model, SqueezeExcite):
        for fault, gate in gates.items():
            yield Mutant(fault, ("hard-sigmoid",), name, partial(attribute, block, "gate", gate))


def fold_mutants(model: nn.Module, seed: int = 0) -> Iterator[Mutant]:
    """Yield missing folds: a Keras convolution's bias that did not go into the normalisation's mean."""
    draw = np.random.default_rng(seed)
    for name, norm in _norms(model):
        bias = torch.from_numpy(draw.uniform(-0.3, 0.3, tuple(norm.running_mean.shape)))
        yield Mutant("missing fold", ("missing-fold",), name, partial(changed, norm.running_mean, bias.add))
