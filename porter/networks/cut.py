"""A network of timm's that ends before its own end, and returns what its source returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from timm.models.convnext import ConvNeXtStage
from timm.models.regnet import RegStage
from timm.models.resnetv2 import ResNetStage
from torch import nn

from porter.core.cut import ACTIVATED, LINEAR, WHOLE, Cut, Feature
from porter.errors import OutputError
from porter.networks.head import classifier_of

# Classes of timm's whose children run one after the other, in their order.
_SEQUENTIAL = (
    "EfficientNet",
    "MobileNetV3",
    "ResNet",
    "ResNetV2",
    "InceptionV3",
    "Xception",
    "DenseNet",
    "ConvNeXt",
    "VGG",
    "InceptionResnetV2",
    "RegNet",
)
_SEQUENTIAL_PARTS = (nn.Sequential, ConvNeXtStage, RegStage, ResNetStage)
_NORM = "bn"


class CutNetwork(nn.Module):
    """The first modules of a network, under their own names.

    Args:
        model: The whole network.
        cut: Where it ends.
        has_head: Whether the network's classifier follows there.

    Raises:
        OutputError: the network is none whose modules run in order, or lacks one that the cut names.
    """

    def __init__(self, model: nn.Module, cut: Cut, *, has_head: bool = False) -> None:
        super().__init__()
        if type(model).__name__ not in _SEQUENTIAL:
            raise OutputError("load/no-cut", f"{type(model).__name__} cannot be cut between its modules")
        self._run = [*_until(model, cut.end), *(name for step in cut.steps for name in _modules(model, step))]
        for name in self._run:
            _keep(self, model, name)
        self._outputs = [self._observed(output) for output in cut.outputs]
        self._head = classifier_of(model) if has_head else None
        if self._head is not None:
            _keep(self, model, self._head)
        self.pretrained_cfg = getattr(model, "pretrained_cfg", {})
        self.num_classes = getattr(model, "num_classes", 0) if has_head else 0
        self._seen: dict[str, torch.Tensor] = {}
        self._last = f"{self._run[-1]}:"
        for key in self._outputs:
            if key not in {f"{name}:" for name in self._run}:
                self._watch(key)

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Run what there is: (N, C, H, W) to one map, or to one for each output of the source."""
        given = {}
        for name in self._run:
            x = self.get_submodule(name)(x)
            key = f"{name}:"
            if key in self._outputs:
                given[key] = x if key == self._last else x.clone()  # what follows may work in place
        found = [given[key] if key in given else self._taken(key) for key in self._outputs]
        if self._head is not None:
            logits: torch.Tensor = self.get_submodule(self._head)(found[0])
            return logits
        return found[0] if len(found) == 1 else tuple(found)

    def _taken(self, key: str) -> torch.Tensor:
        """Return what a hook has kept; torch.fx, for one, runs none."""
        if key not in self._seen:
            raise RuntimeError(f"a hook takes the map at {key.partition(':')[0]}, and it did not run")
        return self._seen.pop(key)

    def _observed(self, output: Feature) -> str:
        """Return what is observed of an output: of modules that run in order, the last."""
        name, _, side = _observed(self, output).partition(":")
        inner = [each for each in self._run if each.startswith(f"{name}.")]
        return f"{inner[-1] if inner else name}:{side}"

    def _watch(self, key: str) -> None:
        name, _, side = key.partition(":")
        module = self.get_submodule(name)
        if side == LINEAR:
            module.register_forward_pre_hook(_Input(self._seen, key))
        else:
            module.register_forward_hook(_Output(self._seen, key))


class _Input:
    """Keeps what a module is given; a class, so that a copied network keeps its own."""

    def __init__(self, seen: dict[str, torch.Tensor], key: str) -> None:
        self._seen, self._key = seen, key

    def __call__(self, _module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        self._seen[self._key] = args[0].clone()  # what follows may work in place


class _Output:
    """Keeps what a module gives."""

    def __init__(self, seen: dict[str, torch.Tensor], key: str) -> None:
        self._seen, self._key = seen, key

    def __call__(self, _module: nn.Module, _args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        self._seen[self._key] = output.clone()


def _until(model: nn.Module, end: str) -> Sequence[str]:
    """Return the modules that run one after the other, up to `end`."""
    if not end:
        return ()
    names = list(_in_order(model, ""))
    last = [number for number, name in enumerate(names) if name == end or name.startswith(f"{end}.")]
    if last:
        return names[: last[-1] + 1]
    raise OutputError("load/no-cut", f"no module is called {end!r}")


def _in_order(model: nn.Module, prefix: str) -> Iterator[str]:
    for name, child in model.named_children():
        if isinstance(child, _SEQUENTIAL_PARTS):
            yield from _in_order(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _keep(target: nn.Module, model: nn.Module, name: str) -> None:
    """Give a module the same name below another root."""
    *path, leaf = name.split(".")
    for edge in path:
        if not hasattr(target, edge):
            target.add_module(edge, nn.Module())
        target = target.get_submodule(edge)
    target.add_module(leaf, _module(model, name))


def _modules(model: nn.Module, step: Feature) -> Sequence[str]:
    """Return what runs for one step: a norm, and its activation where that is a module of its own."""
    beside = _beside(step.module) if step.side == ACTIVATED and not _inner(model, step.module) else None
    return [step.module] if beside is None else [step.module, beside]


def _observed(model: nn.Module, output: Feature) -> str:
    """Return the module whose output, or input, is what is wanted."""
    inner = None if output.side == WHOLE else _inner(model, output.module)
    if output.side == LINEAR and inner is not None:
        return f"{inner}:{LINEAR}"
    name = _beside(output.module) if output.side == ACTIVATED and inner is None else output.module
    _module(model, name)
    return f"{name}:"


def _inner(model: nn.Module, name: str) -> str | None:
    """Return the activation that a norm of timm's runs by itself."""
    act = getattr(_module(model, name), "act", None)
    return None if act is None or isinstance(act, nn.Identity) else f"{name}.act"


def _beside(name: str) -> str:
    """Return what timm calls the activation behind a norm: ``act2`` of ``bn2``."""
    path, _, leaf = name.rpartition(".")
    act = leaf.replace(_NORM, "act", 1)
    return f"{path}.{act}" if path else act


def _module(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        raise OutputError("load/no-cut", f"no module is called {name!r}") from None
