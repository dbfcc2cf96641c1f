"""Fold batch normalisation and layer scale into the convolution before them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from timm.layers import DropPath, LayerScale2d  # type: ignore[attr-defined]  # timm lists no exports
from torch import fx, nn
from torch.nn.utils import parametrize

from porter.errors import OutputError

# What leaves its input as it is in eval mode.
_PASSES = (nn.Identity, nn.Dropout, DropPath)


@dataclass(frozen=True, slots=True)
class Folding:
    """What `fold_batch_norm` did.

    Attributes:
        folded: Module names of the norms and layer scales that are part of a convolution now.
        unfolded: Module names of those that stay, because they have no convolution of their own before
            them. A norm is never folded forward, into the convolution after it: SAME pads with zeros
            *after* the norm, which a shift in the bias cannot know at the borders.
    """

    folded: tuple[str, ...]
    unfolded: tuple[str, ...]


def fold_batch_norm(model: nn.Module) -> Folding:
    """Fold every batch norm, and every layer scale, that directly follows a convolution, in place.

    With s = weight / sqrt(running_var + eps) the convolution's kernel becomes s * kernel and its bias
    bias + s * (bias - running_mean); the norm's place is taken by its activation. A layer scale gamma
    multiplies both. The scale is computed in float64 and rounded once, to the kernel's own type.

    Args:
        model: A model in eval mode that `torch.fx` can trace.

    Returns:
        What was folded and what was not.

    Raises:
        OutputError: ``fold/training`` for a model in training mode, whose norms use the batch;
            ``fold/not-traceable`` if the order of the layers cannot be seen.
    """
    if model.training:
        raise OutputError("fold/training", "a model in training mode cannot be folded", hint="model.eval()")
    folded = [
        name for name, conv, norm in _pairs(model, nn.BatchNorm2d) if _fold_norm(model, name, conv, norm)
    ]
    # A second look: where a norm was, there is nothing between a convolution and its layer scale now.
    folded += [
        name for name, conv, scale in _pairs(model, LayerScale2d) if _fold_scale(model, name, conv, scale)
    ]
    left = [
        name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d | LayerScale2d)
    ]
    return Folding(tuple(folded), tuple(left))


class _Tracer(fx.Tracer):
    """Sees a model's convolutions, pools, norms and layer scales as single steps."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        single = nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d | nn.BatchNorm2d | LayerScale2d | DropPath
        return isinstance(m, single) or super().is_leaf_module(m, module_qualified_name)


def _pairs(model: nn.Module, kind: type[nn.Module]) -> Iterator[tuple[str, nn.Conv2d, nn.Module]]:
    """Yield (name, convolution in front, module) if nobody else uses either."""
    try:
        graph = _Tracer().trace(model)
    except Exception as error:  # a foreign forward may fail in any way
        raise OutputError(
            "fold/not-traceable",
            f"torch.fx cannot trace the model ({type(error).__name__}: {error})",
            hint="Leave its norms as they are (no --fold-bn).",
        ) from error
    calls = [node for node in graph.nodes if node.op == "call_module"]
    modules = {node: model.get_submodule(str(node.target)) for node in calls}
    read = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    aside = [model.get_submodule(name) for name in read]  # the forward computes with what they hold
    once = {
        node
        for node in calls
        if sum(modules[node] is other for other in (*modules.values(), *aside)) == 1
        and not parametrize.is_parametrized(modules[node])
    }
    for node in calls:
        if node not in once or not isinstance(modules[node], kind):
            continue
        source = _source(node, modules)
        if source in once and isinstance(conv := modules[source], nn.Conv2d):
            yield str(node.target), conv, modules[node]


def _source(node: fx.Node, modules: dict[fx.Node, nn.Module]) -> fx.Node | None:
    """Return what computes the input of `node`, if nothing else looks at it on the way."""
    found = _input(node)
    while isinstance(found, fx.Node) and len(found.users) == 1:
        if not isinstance(modules.get(found), _PASSES):
            return found
        found = _input(found)
    return None


def _input(node: fx.Node) -> object:
    """Return what a module is called with, be it by position or by name."""
    return node.args[0] if node.args else next(iter(node.kwargs.values()))


def _fold_norm(model: nn.Module, name: str, conv: nn.Conv2d, norm: nn.Module) -> bool:
    mean, variance = getattr(norm, "running_mean", None), getattr(norm, "running_var", None)
    if not isinstance(norm, nn.BatchNorm2d) or mean is None or variance is None:
        return False
    scale = torch.rsqrt(variance.double() + norm.eps)
    if norm.weight is not None:
        scale *= norm.weight.detach().double()
    shift = -mean.double() * scale
    if norm.bias is not None:
        shift += norm.bias.detach().double()
    _scale_and_shift(conv, scale, shift)
    model.set_submodule(name, getattr(norm, "act", nn.Identity()))
    return True


def _fold_scale(model: nn.Module, name: str, conv: nn.Conv2d, scale: nn.Module) -> bool:
    gamma = scale.get_parameter("gamma").detach().double()
    _scale_and_shift(conv, gamma, None)
    model.set_submodule(name, nn.Identity())
    return True


def _scale_and_shift(conv: nn.Conv2d, scale: torch.Tensor, shift: torch.Tensor | None) -> None:
    """Make `conv` compute scale * conv(x) + shift, (C_out,) each in float64; None stands for no shift."""
    kernel = conv.weight.detach()
    wide = kernel.double() * scale.reshape(-1, 1, 1, 1)
    conv.weight = nn.Parameter(wide.to(kernel.dtype), requires_grad=conv.weight.requires_grad)
    bias = shift
    if conv.bias is not None:
        bias = conv.bias.detach().double() * scale + (0.0 if shift is None else shift)
    if bias is not None:
        conv.bias = nn.Parameter(bias.to(kernel.dtype), requires_grad=conv.weight.requires_grad)
