"""The head of a person's own model in the place of a network's classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial, reduce
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from porter.core.head import BRANCHES, CLASSIFIERS, JOIN, POOLS, WEIGHTED, HeadStep, branches_of
from porter.errors import OutputError
from porter.same_padding.fixed import Conv2dPadded
from porter.same_padding.modules import AvgPool2dSame, Conv2dSame, MaxPool2dSame


class GlobalPool(nn.Module):
    """Mean, maximum or both of each channel: (N, C, H, W) to (N, C), or (N, 2 C) with the means first."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool the maps."""
        found = []
        if self.kind != "global_max_pool":
            found.append(x.mean((2, 3)))
        if self.kind != "global_avg_pool":
            found.append(x.amax((2, 3)))
        return torch.cat(found, 1)

    def extra_repr(self) -> str:
        """Return the kind."""
        return self.kind


class FlattenChannelsLast(nn.Module):
    """(N, C, H, W) to (N, H x W x C): TensorFlow's order, so that the dense layer after it stays as it is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Flatten the maps."""
        return x.permute(0, 2, 3, 1).flatten(1)


class ChannelNorm2d(nn.LayerNorm):
    """Layer normalisation of each pixel's channels: (N, C, H, W) to the same."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002  torch.nn.LayerNorm's own name
        """Normalise the channels."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Branches(nn.Sequential):
    """Several heads on the same features, one output for each."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run each: the features to a tuple of outputs."""
        return tuple(branch(x) for branch in self)


class Join(nn.Sequential):
    """What several heads make of the same features, joined: vectors are maps of one pixel beside maps.

    Args:
        how: See `porter.core.head.JOINS`.
        branches: The heads.
    """

    def __init__(self, how: str, *branches: nn.Module) -> None:
        if how not in _JOINED:
            raise ValueError(f"no way to join is called {how!r}")
        super().__init__(*branches)
        self.how = how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run each and join: the features to one tensor."""
        found = [branch(x) for branch in self]
        axes = max(each.ndim for each in found)
        return _JOINED[self.how]([each[..., None, None] if each.ndim < axes else each for each in found])


class Scale(nn.Module):
    """x * scale + offset."""

    def __init__(self, scale: float, offset: float) -> None:
        super().__init__()
        self.scale, self.offset = float(scale), float(offset)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale: any shape to the same."""
        return x * self.scale + self.offset


class UnitNorm(nn.Module):
    """Each vector of channels divided by its length, or by the shortest one that counts: (N, C, ...)."""

    def __init__(self, shortest: float) -> None:
        super().__init__()
        self.shortest = float(shortest)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise the channels."""
        return nn.functional.normalize(x, dim=1, eps=self.shortest)


class Exponential(nn.Module):
    """e to the x."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it elementwise: any shape to the same."""
        return x.exp()


_JOINED: Mapping[str, Callable[[list[torch.Tensor]], torch.Tensor]] = MappingProxyType(
    {
        "add": lambda found: reduce(torch.add, found),
        "multiply": lambda found: reduce(torch.mul, found),
        "average": lambda found: reduce(torch.add, found) / len(found),
        "maximum": lambda found: reduce(torch.maximum, found),
        "concat": lambda found: torch.cat(found, 1),
    }
)


def attach_head(model: nn.Module, steps: Sequence[HeadStep]) -> None:
    """Put a head in the place of a network's classifier, and of its pooling if the head takes maps.

    Args:
        model: A network of timm's with a module `global_pool` and a classifier beside it; see `CLASSIFIERS`.
        steps: The head; see `HeadStep`.

    Raises:
        OutputError: the network has no such modules, or a step is unknown.
    """
    place, _, name = (classifier_of(model) or "").rpartition(".")
    beside = model.get_submodule(place)
    if not name or not hasattr(beside, "global_pool"):
        raise OutputError("load/no-classifier", f"{type(model).__name__} has no place for a head")
    widths = [step.attributes["outputs"] for step in steps if step.kind in WEIGHTED]
    if _takes_map(steps):
        for pooling in ("global_pool", "flatten"):
            if hasattr(beside, pooling):
                setattr(beside, pooling, nn.Identity())
    setattr(beside, name, nn.Sequential(*map(_module, steps)))
    model.num_classes = widths[-1] if widths else 0  # type: ignore[assignment]


def classifier_of(model: nn.Module) -> str | None:
    """Return the name of the module of timm's that classifies, or None if there is none known."""
    names = dict(model.named_modules())
    return next((name for name in CLASSIFIERS if name in names), None)


def _takes_map(steps: Sequence[HeadStep]) -> bool:
    return any(
        step.kind in (*POOLS, "flatten")
        or (step.kind in (BRANCHES, JOIN) and any(map(_takes_map, branches_of(step))))
        for step in steps
    )


def _module(step: HeadStep) -> nn.Module:
    if step.kind not in _MODULES:
        raise OutputError(
            "load/unknown-step", f"a head has a step {step.kind!r}", expected=f"one of {[*_MODULES]}"
        )
    try:
        return _MODULES[step.kind](step.attributes)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise OutputError(
            "load/bad-step", f"a step {step.kind!r} of the head is malformed ({error})"
        ) from error


def _pool(kind: str, _stated: Mapping[str, Any]) -> nn.Module:
    return GlobalPool(kind)


def _conv(stated: Mapping[str, Any]) -> nn.Module:
    channels = stated["inputs"], stated["outputs"]
    return _with_window(stated, channels) if "kernel" in stated else nn.Conv2d(*channels, 1)


def _with_window(stated: Mapping[str, Any], channels: tuple[int, int], groups: int = 1) -> nn.Module:
    window: dict[str, Any] = {"stride": tuple(stated["strides"]), "dilation": tuple(stated["dilation"])}
    window["groups"] = groups
    kernel = tuple(stated["kernel"])
    if stated["padding"] == "same":
        return Conv2dSame(*channels, kernel, **window)
    (top, bottom), (left, right) = stated["padding"]
    if (top, left) == (bottom, right):
        return nn.Conv2d(*channels, kernel, padding=(top, left), **window)
    return Conv2dPadded((left, right, top, bottom), *channels, kernel, **window)


def _depthwise_conv(stated: Mapping[str, Any]) -> nn.Module:
    return _with_window(stated, (stated["inputs"], stated["outputs"]), groups=stated["inputs"])


def _max_pool(stated: Mapping[str, Any]) -> nn.Module:
    kind = MaxPool2dSame if stated["padding"] == "same" else nn.MaxPool2d
    return kind(tuple(stated["size"]), tuple(stated["strides"]))


def _avg_pool(stated: Mapping[str, Any]) -> nn.Module:
    kind = AvgPool2dSame if stated["padding"] == "same" else nn.AvgPool2d
    return kind(tuple(stated["size"]), tuple(stated["strides"]))


def _layer_norm(stated: Mapping[str, Any]) -> nn.Module:
    kind = ChannelNorm2d if stated["is_map"] else nn.LayerNorm
    return kind(stated["channels"], eps=stated["epsilon"])


def _branches(stated: Mapping[str, Any]) -> nn.Module:
    return Branches(*_each_branch(stated))


def _join(stated: Mapping[str, Any]) -> nn.Module:
    return Join(stated["how"], *_each_branch(stated))


def _each_branch(stated: Mapping[str, Any]) -> Iterator[nn.Module]:
    return (nn.Sequential(*map(_module, steps)) for steps in branches_of(HeadStep(BRANCHES, stated)))


def _norm(stated: Mapping[str, Any]) -> nn.Module:
    kind = nn.BatchNorm2d if stated["is_map"] else nn.BatchNorm1d
    return kind(stated["channels"], eps=stated["epsilon"])


def _relu(stated: Mapping[str, Any]) -> nn.Module:
    most, slope = stated["max_value"], stated["negative_slope"]
    if most is None:
        return nn.LeakyReLU(slope) if slope else nn.ReLU()
    if slope:
        raise ValueError("a slope and a cap")
    return nn.ReLU6() if most == 6 else nn.Hardtanh(0.0, most)


_MODULES: Mapping[str, Callable[[Mapping[str, Any]], nn.Module]] = MappingProxyType(
    {
        **{kind: partial(_pool, kind) for kind in POOLS},
        "flatten": lambda _: FlattenChannelsLast(),
        "dense": lambda stated: nn.Linear(stated["inputs"], stated["outputs"]),
        "conv": _conv,
        "depthwise_conv": _depthwise_conv,
        "max_pool": _max_pool,
        "avg_pool": _avg_pool,
        "norm": _norm,
        "layer_norm": _layer_norm,
        "group_norm": lambda stated: nn.GroupNorm(stated["groups"], stated["channels"], stated["epsilon"]),
        "unit_norm": lambda stated: UnitNorm(stated["shortest"]),
        "scale": lambda stated: Scale(stated["scale"], stated["offset"]),
        BRANCHES: _branches,
        JOIN: _join,
        "relu": _relu,
        "gelu": lambda stated: nn.GELU("tanh" if stated["approximate"] else "none"),
        "elu": lambda stated: nn.ELU(stated["alpha"]),
        "prelu": lambda stated: nn.PReLU(stated["channels"]),
        "selu": lambda _: nn.SELU(),
        "softsign": lambda _: nn.Softsign(),
        "exponential": lambda _: Exponential(),
        "softmax": lambda _: nn.Softmax(-1),
        "sigmoid": lambda _: nn.Sigmoid(),
        "tanh": lambda _: nn.Tanh(),
        "softplus": lambda _: nn.Softplus(),
        "swish": lambda _: nn.SiLU(),
        "mish": lambda _: nn.Mish(),
        "hard_sigmoid": lambda _: nn.Hardsigmoid(),
        "hard_swish": lambda _: nn.Hardswish(),
    }
)
