"""Whether a layer of PyTorch's can be a layer of the source, by kind and shape, and how weights go over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from typing import NamedTuple

import numpy as np
from torch import nn

from porter.core.checkpoint import Array
from porter.core.layouts import parse_layout
from porter.errors import TableError
from porter.runners.bare_parameters import BareParameter
from porter.runners.graph_operations import SourceOperation
from porter.runners.joined_attention import PREFIX, InProjection
from porter.runners.joined_groups import groups_of

Shapes = Mapping[str, tuple[int, ...]]
NORMS = (nn.modules.batchnorm._BatchNorm,)  # noqa: SLF001 (the class that all batch norms share)
WITH_EPSILON = (*NORMS, nn.LayerNorm, nn.GroupNorm)
_MOST_JOINED = 4
REFUSED = (nn.RNNBase, nn.RNNCellBase, nn.Embedding, nn.EmbeddingBag)


class Moved(NamedTuple):
    """A variable on its way: checkpoint key, role in its layer, parameter of the module, axis orders."""

    key: str
    role: str
    leaf: str
    layout: str
    scale: float = 1.0  # every value is multiplied by it


class Fit(NamedTuple):
    """How a layer's variables become a module's parameters.

    Attributes:
        kind: As a table calls it; ``"tensor"`` where only a layout says it.
        moved: The variables.
        constants: Parameters of the module that the layer does without, and what they are.
        lost_bias: Key of a bias that the module has no place for, or "".
        way: How the module takes the layer's input, see `Reading`.
    """

    kind: str
    moved: tuple[Moved, ...]
    constants: tuple[tuple[str, float], ...] = ()
    lost_bias: str = ""
    way: str = "plain"


def fits(module: nn.Module, operation: SourceOperation, shapes: Shapes) -> Iterator[Fit]:
    """Yield every way in which the operation's variables fit the module's parameters."""
    if operation.beside:
        yield from _grouped(module, operation, shapes)
        return
    if isinstance(module, NORMS):
        yield from _norm(module, operation, shapes)
        return
    for kind, finder in _FINDERS:
        if isinstance(module, kind):
            yield from (_owned(fit, module) for fit in finder(module, operation, shapes))
            return


def values_of(fit: Fit, weights: Mapping[str, Array]) -> dict[str, Array]:
    """Return the module's parameters by name, as the layer's variables make them."""
    found: dict[str, list[Array]] = {}
    for each in fit.moved:
        values = parse_layout(each.layout).apply(weights[each.key])
        found.setdefault(each.leaf, []).append(values if each.scale == 1 else values * each.scale)
    return {leaf: values[0] if len(values) == 1 else np.concatenate(values) for leaf, values in found.items()}


def joined_fits(
    module: nn.Linear, operations: Sequence[SourceOperation], shapes: Shapes, count: int
) -> Iterator[tuple[tuple[int, ...], Fit]]:
    """Yield every way in which `count` layers make up a module, one after another along its outputs.

    This is what a module that computes query, key and value at once has in the place of three layers.

    Yields:
        The places of the layers in `operations`, and how all their variables go over.
    """
    share, rest = divmod(module.out_features, count)
    if rest:
        return
    part = nn.Linear(module.in_features, share, bias=module.bias is not None, device="meta")
    single = {n: next(_linear(part, each, shapes), None) for n, each in enumerate(operations)}
    fitting = [n for n, fit in single.items() if fit is not None and not fit.lost_bias]
    for places in permutations(fitting, count) if len(fitting) <= _MOST_JOINED else ():
        parts = [single[n] for n in places]
        moved = tuple(each for fit in parts if fit for each in fit.moved)
        constants = {fit.constants for fit in parts if fit}
        if len(constants) == 1:  # biases of all or of none
            yield places, _owned(Fit("tensor", moved, constants.pop()), module)


def scaled_fit(fit: Fit, scale: float) -> Fit:
    """Return a fit whose kernel makes up for a factor of its input that PyTorch leaves out."""
    moved = tuple(each._replace(scale=scale) if each.role == "kernel" else each for each in fit.moved)
    return fit._replace(moved=moved)


def _grouped(module: nn.Module, operation: SourceOperation, shapes: Shapes) -> Iterator[Fit]:
    """Yield the fit of a module that computes all groups of a written-out layer, one after another."""
    groups = groups_of(operation)
    part = _part(module, len(groups))
    if part is None:
        return
    parts = [next(fits(part, replace(operation, variables=each, beside=[]), shapes), None) for each in groups]
    if all(fit is not None and not fit.lost_bias for fit in parts):
        found = [fit for fit in parts if fit is not None]
        yield Fit("tensor", tuple(each for fit in found for each in fit.moved), found[0].constants)


def _part(module: nn.Module, count: int) -> nn.Module | None:
    """Return one group of a module, without values; None where it cannot have so many groups."""
    if isinstance(module, nn.Conv2d) and module.groups == count:
        share = module.in_channels // count, module.out_channels // count
        return nn.Conv2d(*share, module.kernel_size, bias=module.bias is not None, device="meta")  # type: ignore[arg-type]
    if isinstance(module, NORMS) and module.num_features % count == 0:
        return nn.BatchNorm2d(module.num_features // count, affine=module.affine, device="meta")
    return None


def _owned(fit: Fit, module: nn.Module) -> Fit:
    """Return a fit with the names that an attention gives the parameters of its first layer."""
    if not isinstance(module, InProjection):
        return fit
    moved = tuple(each._replace(leaf=PREFIX + each.leaf) for each in fit.moved)
    return fit._replace(moved=moved, constants=tuple((PREFIX + leaf, value) for leaf, value in fit.constants))


def _kernel_fit(
    module: nn.Module, operation: SourceOperation, shapes: Shapes, kind: str, layout: str, way: str = "plain"
) -> Iterator[Fit]:
    variables, weight = operation.variables, module.weight
    moved = [Moved(variables["kernel"], "kernel", "weight", layout)]
    if _shape(layout, shapes[variables["kernel"]]) != tuple(weight.shape):  # type: ignore[arg-type]
        return
    constants: list[tuple[str, float]] = []
    lost, bias = "", module.bias
    if "bias" in variables and bias is not None:
        pattern = "h k -> (h k)" if len(shapes[variables["bias"]]) > 1 else "c -> c"
        if _shape(pattern, shapes[variables["bias"]]) != tuple(bias.shape):  # type: ignore[arg-type]
            return
        moved.append(Moved(variables["bias"], "bias", "bias", pattern))
    elif "bias" in variables:
        lost = variables["bias"]
    elif bias is not None:
        constants.append(("bias", 0.0))
    yield Fit(kind, tuple(moved), tuple(constants), lost, way)


def _shape(layout: str, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    try:
        return parse_layout(layout).target_shape(shape)
    except TableError:
        return None


# An attention's kernels with an axis for its heads: of queries, and of what comes out; both ways round.
_HEADS = ("d h k -> (h k) d", "h k d -> d (h k)", "h k d -> (h k) d", "d h k -> d (h k)")


def _conv(module: nn.Conv2d, operation: SourceOperation, shapes: Shapes) -> Iterator[Fit]:
    if operation.kind == "conv":
        yield from _kernel_fit(module, operation, shapes, "conv2d", "h w i o -> o i h w")
    elif operation.kind == "depthwise_conv":
        yield from _kernel_fit(module, operation, shapes, "depthwise_conv2d", "h w c m -> (c m) 1 h w")
    elif operation.kind in ("dense", "einsum") and "kernel" in operation.variables:
        yield from _kernel_fit(module, operation, shapes, "dense_as_conv2d", "i o -> o i 1 1")
        for layout in _HEADS:
            yield from _kernel_fit(module, operation, shapes, "tensor", f"{layout} 1 1")
        height, width = module.kernel_size
        split = f"(h:{height} w:{width} c) o -> o c h w"
        if height * width > 1:
            yield from _kernel_fit(module, operation, shapes, "tensor", split, "flat")


def _linear(module: nn.Linear, operation: SourceOperation, shapes: Shapes) -> Iterator[Fit]:
    if operation.kind == "conv":
        yield from _kernel_fit(module, operation, shapes, "conv2d_as_linear", "1 1 i o -> o i")
    elif operation.kind in ("dense", "einsum") and "kernel" in operation.variables:
        yield from _kernel_fit(module, operation, shapes, "dense", "i o -> o i")
        for layout in _HEADS:
            yield from _kernel_fit(module, operation, shapes, "tensor", layout)


def flat_layout(fit: Fit, base: tuple[int, ...]) -> Fit:
    """Return the fit of a dense layer after a Flatten of (N, H, W, C), which PyTorch has in order C H W."""
    _, height, width, _ = base
    split = f"(h:{height} w:{width} c) o -> o (c h w)"
    moved = tuple(each._replace(layout=split) if each.leaf == "weight" else each for each in fit.moved)
    return fit._replace(kind="tensor", moved=moved, way="flat")


def _transposed(module: nn.ConvTranspose2d, operation: SourceOperation, shapes: Shapes) -> Iterator[Fit]:
    if operation.kind == "transposed_conv":
        yield from _kernel_fit(module, operation, shapes, "conv2d_transpose", "h w o i -> i o h w")


_ROLES = (
    ("gamma", "gamma", "weight", 1.0),
    ("beta", "beta", "bias", 0.0),
    ("mean", "moving_mean", "running_mean", None),
    ("variance", "moving_variance", "running_var", None),
)


def _layer_norm(module: nn.LayerNorm, operation: SourceOperation, shapes: Shapes) -> Iterator[Fit]:
    if operation.kind == "layer_norm" and len(module.normalized_shape) == 1:
        yield from _statistics(module, operation, shapes, "layer_norm", _ROLES[:2])


def _group_norm(module: nn.GroupNorm, operation: SourceOperation, shapes: Shapes) -> Iterator[Fit]:
    if operation.kind == "group_norm":
        yield from _statistics(module, operation, shapes, "group_norm", _ROLES[:2])


def _prelu(module: nn.PReLU, operation: SourceOperation, shapes: Shapes) -> Iterator[Fit]:
    if operation.kind == "prelu":
        key, wanted = operation.variables["alpha"], tuple(module.weight.shape)
        layout = f"{_spelt(shapes[key])} -> {_spelt(wanted)}"
        if _shape(layout, shapes[key]) == wanted:
            yield Fit("tensor", (Moved(key, "alpha", "weight", layout),))


def _norm(module: nn.Module, operation: SourceOperation, shapes: Shapes) -> Iterator[Fit]:
    if operation.kind == "norm":
        yield from _statistics(module, operation, shapes, "batch_norm", _ROLES)


def _statistics(
    module: nn.Module,
    operation: SourceOperation,
    shapes: Shapes,
    kind: str,
    roles: Sequence[tuple[str, str, str, float | None]],
) -> Iterator[Fit]:
    moved, constants = [], []
    for ours, role, leaf, implied in roles:
        parameter = getattr(module, leaf)
        if ours in operation.variables:
            key = operation.variables[ours]
            if parameter is None or shapes[key] != tuple(parameter.shape):
                return
            moved.append(Moved(key, role, leaf, "c -> c"))
        elif parameter is not None and implied is not None:
            constants.append((leaf, implied))
        elif parameter is not None:
            return
    if moved:
        yield Fit(kind, tuple(moved), tuple(constants))


_USES = {"Mul": "multiply", "Add": "add", "AddV2": "add", "token": "token"}


def _bare(module: BareParameter, operation: SourceOperation, shapes: Shapes) -> Iterator[Fit]:
    """Yield the way from a variable that is multiplied or added as it is, past axes of length 1."""
    use = _USES.get(str(operation.attributes.get("class_name", operation.kind)))
    if use != module.use or len(operation.variables) != 1:
        return
    (key,) = operation.variables.values()
    shape, wanted = shapes[key], tuple(module.get_parameter(module.leaf).shape)
    layout = f"{_spelt(shape)} -> {_spelt(wanted)}"
    if _shape(layout, shape) == wanted:
        yield Fit("tensor", (Moved(key, "parameter", module.leaf, layout),))


def _spelt(shape: Sequence[int]) -> str:
    """Return an axis order with a letter for every axis that is longer than 1."""
    letters = iter("abcdefgh")
    return " ".join("1" if length == 1 else next(letters) for length in shape)


_FINDERS: tuple[tuple[type[nn.Module], Callable[..., Iterator[Fit]]], ...] = (
    (nn.Conv2d, _conv),
    (nn.Linear, _linear),
    (nn.ConvTranspose2d, _transposed),
    (nn.LayerNorm, _layer_norm),
    (nn.GroupNorm, _group_norm),
    (nn.PReLU, _prelu),
    (BareParameter, _bare),
)
