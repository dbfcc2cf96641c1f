"""PyTorch networks of any library, and one's own, built and adjusted as a mapping table says."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from porter.core.named_function import named_function
from porter.errors import MissingDependencyError, OutputError, PorterError, not_installed
from porter.same_padding import emulate_same_padding
from porter.same_padding.averages import average_without_padding
from porter.same_padding.fixed import pad_fixed

# Arguments with which a library fetches weights, or runs what it fetched: a table builds a network alone.
_FETCHING = ("pretrained", "weights", "checkpoint", "trust_remote_code", "auto_map", "custom_load")
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)  # noqa: SLF001 (the class that all share)


def build_target(library: str, name: str, arguments: Mapping[str, object]) -> nn.Module:
    """Build the network `name` of a library.

    Args:
        library: ``"timm"``, ``"torchvision"``, ``"transformers"`` or ``"torch"``.
        name: What the library calls it: a model, a class of transformers, or ``"package.module:function"``,
            which is imported and called: ask before whether the person wants that.
        arguments: Passed on.

    Raises:
        OutputError: it cannot be built (``network/not-built``).
        MissingDependencyError: the library is not installed.
    """
    refuse_fetching(library, name, arguments)
    try:
        model = _BUILDERS[library](name, dict(arguments))
    except PorterError:
        raise
    except ModuleNotFoundError as error:
        extra = "transformers" if library == "transformers" else "torch"
        raise MissingDependencyError(
            "network/missing",
            not_installed([error.name or name]),
            hint=None if library == "torch" else f"pip install 'port-weights[{extra}]'",
        ) from error
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise OutputError(
            "network/not-built", f"{library} cannot build {name} ({type(error).__name__}: {first})"
        ) from error
    if not isinstance(model, nn.Module):
        raise OutputError(
            "network/not-built",
            f"{name} returns no nn.Module",
            expected="torch.nn.Module",
            found=type(model).__name__,
        )
    return model


def refuse_fetching(library: str, name: str, arguments: Mapping[str, object]) -> None:
    """Refuse what would make a library fetch weights: a file that names a network is to build it alone.

    Raises:
        OutputError: ``network/fetched``.
    """
    fetched = [key for key in arguments if any(word in key for word in _FETCHING)]
    if library != "torch" and (fetched or not re.fullmatch(r"[\w.]+", name)):
        raise OutputError(
            "network/fetched",
            f"{library}'s {name} is only built, and no weights are fetched for it",
            found=", ".join(fetched) or name,
        )


def answer_of(output: object) -> torch.Tensor:
    """Return the tensor that a network answers with: alone, as ``logits`` or first of several.

    Raises:
        OutputError: there is none (``network/no-answer``).
    """
    for found in (
        output,
        getattr(output, "logits", None),
        *(output[:1] if isinstance(output, tuple) else ()),
    ):
        if isinstance(found, torch.Tensor):
            return found
    raise OutputError("network/no-answer", "the network's answer is no tensor", found=type(output).__name__)


def adjust(model: nn.Module, adjustments: Mapping[str, object]) -> None:
    """Change a finished network in place as ``[target.adjust]`` of a table says.

    Args:
        model: The network.
        adjustments: ``same_padding``: True, or names of the layers; ``eps``: a number for every norm, or one
            by the norm's name; ``average_without_padding``: names of the modules that average over images;
            ``without``: names of modules that pass their input on; ``padding``: what named convolutions pad
            at every size, ``[[top, bottom], [left, right]]``.

    Raises:
        OutputError: it names a module that is not there (``network/adjustment``).
        SamePaddingError: a named layer cannot pad so.
    """
    without: Any = adjustments.get("without", ())
    for name in without:
        _take_out(model, str(name))
    padded: Any = adjustments.get("same_padding", False)
    if padded:
        emulate_same_padding(model, include=None if padded is True else padded)
    modules: Mapping[str, Any] = dict(model.named_modules())
    averaging: Any = adjustments.get("average_without_padding", ())
    for name in averaging:
        if name not in modules:
            raise OutputError("network/adjustment", f"no module is called {name!r}")
        average_without_padding(modules[name])
    _set_epsilon(model, modules, adjustments.get("eps"))
    fixed: Any = adjustments.get("padding", {})
    if not isinstance(fixed, Mapping):
        raise OutputError("network/adjustment", "padding is by the convolution's name", found=repr(fixed))
    for name, amounts in fixed.items():
        if not isinstance(modules.get(name), nn.Conv2d):
            raise OutputError("network/adjustment", f"no convolution is called {name!r}")
        pad_fixed(modules[name], amounts)


def _take_out(model: nn.Module, name: str) -> None:
    if not hasattr(model, name):
        raise OutputError("network/adjustment", f"no module is called {name!r}")
    setattr(model, name, nn.Identity())


def _set_epsilon(model: nn.Module, modules: Mapping[str, Any], epsilon: Any) -> None:
    """Set the epsilon of every norm, or of those that are named."""
    if isinstance(epsilon, Mapping):
        for name, value in epsilon.items():
            if not hasattr(modules.get(name), "eps"):
                raise OutputError("network/adjustment", f"no norm is called {name!r}")
            modules[name].eps = value
    elif epsilon is not None:
        for module in model.modules():
            if isinstance(module, _NORMS):
                module.eps = epsilon


def _timm(name: str, arguments: dict[str, Any]) -> object:
    timm = importlib.import_module("timm")
    return timm.create_model(name, **arguments)


def _torchvision(name: str, arguments: dict[str, Any]) -> object:
    models = importlib.import_module("torchvision.models")
    if name in ("inception_v3", "googlenet"):
        arguments = {"init_weights": False, "aux_logits": False, **arguments}
    return models.get_model(name, weights=None, **arguments)


def _transformers(name: str, arguments: dict[str, Any]) -> object:
    transformers = importlib.import_module("transformers")
    kind = getattr(transformers, name)
    if not issubclass(kind, transformers.PreTrainedModel):
        raise TypeError(f"{name} is no network")
    return kind(kind.config_class(**arguments))


def _function(name: str, arguments: dict[str, Any]) -> object:
    return named_function(name)(**arguments)


_BUILDERS: Mapping[str, Callable[[str, dict[str, Any]], object]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "transformers": _transformers,
    "torch": _function,
}
