"""Whether a layer of PyTorch's can be a layer of the source, by kind and shape, and how weights go over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from torch import nn

from porter.core.checkpoint import Array
from porter.core.layouts import parse_layout
from porter.errors import TableError
from porter.runners.graph_operations import SourceOperation

Shapes = Mapping[str, tuple[int, ...]]
NORMS = (nn.modules.batchnorm._BatchNorm,)  # noqa: SLF001 (the class that all batch norms share)
REFUSED = (nn.RNNBase, nn.RNNCellBase, nn.Embedding, nn.EmbeddingBag)


class Moved(NamedTuple):
    """A variable on its way: checkpoint key, role in its layer, parameter of the module, axis orders."""

    key: str
    role: str
    leaf: str
    layout: str


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
    if isinstance(module, NORMS):
        yield from _norm(module, operation, shapes)
        return
    for kind, finder in _FINDERS:
        if isinstance(module, kind):
            yield from finder(module, operation, shapes)
            return


def values_of(fit: Fit, weights: Mapping[str, Array]) -> dict[str, Array]:
    """Return the module's parameters by name, as the layer's variables make them."""
    return {each.leaf: parse_layout(each.layout).apply(weights[each.key]) for each in fit.moved}


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


def _conv(module: nn.Conv2d, operation: SourceOperation, shapes: Shapes) -> Iterator[Fit]:
    if operation.kind == "conv":
        yield from _kernel_fit(module, operation, shapes, "conv2d", "h w i o -> o i h w")
    elif operation.kind == "depthwise_conv":
        yield from _kernel_fit(module, operation, shapes, "depthwise_conv2d", "h w c m -> (c m) 1 h w")
    elif operation.kind in ("dense", "einsum") and "kernel" in operation.variables:
        yield from _kernel_fit(module, operation, shapes, "dense_as_conv2d", "i o -> o i 1 1")
        height, width = module.kernel_size
        split = f"(h:{height} w:{width} c) o -> o c h w"
        if height * width > 1:
            yield from _kernel_fit(module, operation, shapes, "tensor", split, "flat")


def _linear(module: nn.Linear, operation: SourceOperation, shapes: Shapes) -> Iterator[Fit]:
    if operation.kind == "conv":
        yield from _kernel_fit(module, operation, shapes, "conv2d_as_linear", "1 1 i o -> o i")
    elif operation.kind in ("dense", "einsum") and "kernel" in operation.variables:
        yield from _kernel_fit(module, operation, shapes, "dense", "i o -> o i")
        yield from _kernel_fit(module, operation, shapes, "tensor", "d h k -> (h k) d")
        yield from _kernel_fit(module, operation, shapes, "tensor", "h k d -> d (h k)")


def flat_layout(fit: Fit, base: tuple[int, ...]) -> Fit:
    """Return the fit of a dense layer after a Flatten of (N, H, W, C), which PyTorch has in order C H W."""
    _, height, width, _ = base
    split = f"(h:{height} w:{width} c) o -> o (c h w)"
    moved = tuple(each._replace(layout=split) if each.leaf == "weight" else each for each in fit.moved)
    return fit._replace(kind="tensor", moved=moved, way="flat")


def _transposed(module: nn.ConvTranspose2d, operation: SourceOperation, shapes: Shapes) -> Iterator[Fit]:
    if operation.kind == "transposed_conv":
        yield from _kernel_fit(module, operation, shapes, "tensor", "h w o i -> i o h w")


_ROLES = (
    ("gamma", "gamma", "weight", 1.0),
    ("beta", "beta", "bias", 0.0),
    ("mean", "moving_mean", "running_mean", None),
    ("variance", "moving_variance", "running_var", None),
)


def _norm(module: nn.Module, operation: SourceOperation, shapes: Shapes) -> Iterator[Fit]:
    if operation.kind != "norm":
        return
    moved, constants = [], []
    for ours, role, leaf, implied in _ROLES:
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
    yield Fit("batch_norm", tuple(moved), tuple(constants))


_FINDERS: tuple[tuple[type[nn.Module], Callable[..., Iterator[Fit]]], ...] = (
    (nn.Conv2d, _conv),
    (nn.Linear, _linear),
    (nn.ConvTranspose2d, _transposed),
)
