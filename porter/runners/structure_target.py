"""PyTorch's side of a draft without a network to run: its layers in order of execution, and what fits them.

``python -m porter.runners.structure_target`` takes a request on stdin (`porter.runners.children`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from porter.networks.any_target import build_target
from porter.runners.children import serve_request
from porter.runners.graph_operations import SourceOperation
from porter.runners.layer_fits import Fit, fits
from porter.runners.target_layers import owns_parameters

_SIZES = (224, 64, 32, 299, 28)


def draft(request: Mapping[str, Any]) -> dict[str, Any]:
    """Pair a PyTorch network's layers with a checkpoint's by kind, shape and order.

    Args:
        request: ``library``, ``name`` and ``arguments`` of the target; ``layers`` as of
            `porter.matching.stored_layers`; ``shapes`` by key.

    Returns:
        ``layers`` as of `porter.runners.match_target`, with ``evidence``; ``findings``; names of all
        ``modules`` with parameters.
    """
    model = build_target(request["library"], request["name"], request["arguments"]).eval()
    names = {module: name for name, module in model.named_modules()}
    shapes = {key: tuple(shape) for key, shape in request["shapes"].items()}
    sources = [
        SourceOperation(each["kind"], each["name"], [], {}, dict(each["variables"]), "")
        for each in request["layers"]
    ]
    modules, findings = _executed(model)
    fitting = {module: _fitting(module, sources, shapes) for module in modules}
    layers, used = [], set[int]()
    for module in modules:
        rivals = sum(set(fitting[module]) == set(fitting[other]) for other in modules)
        free = [number for number in fitting[module] if number not in used]
        if not free:
            findings.append(f"{names[module]} ({type(module).__name__}): no layer of the source is left")
            continue
        used.add(free[0])
        fit = fitting[module][free[0]]
        if fit.lost_bias:
            findings.append(f"{names[module]}: has no place for the bias of {sources[free[0]].name}")
        layers.append(_described(module, names[module], sources[free[0]], fit, len(fitting[module]), rivals))
    findings += [f"{each.name} has no place in PyTorch" for n, each in enumerate(sources) if n not in used]
    return {"layers": layers, "findings": findings, "modules": [names[module] for module in modules]}


def _executed(model: nn.Module) -> tuple[list[nn.Module], list[str]]:
    """Return the modules with parameters in order of execution, or else of definition, and what is open."""
    owners = [module for module in model.modules() if owns_parameters(module)]
    called: dict[nn.Module, None] = {}
    hooks = [owner.register_forward_pre_hook(lambda module, _: called.setdefault(module)) for owner in owners]
    try:
        for size in _SIZES:
            called.clear()
            try:
                with torch.no_grad():
                    model(torch.zeros(1, 3, size, size))
            except (RuntimeError, AssertionError, ValueError, TypeError):
                continue
            unrun = len(owners) - len(called)
            return list(called), [f"{unrun} layers never run"] if unrun else []
    finally:
        for hook in hooks:
            hook.remove()
    return owners, ["the network takes no size that was tried: its layers are in order of definition"]


def _fitting(
    module: nn.Module, sources: Sequence[SourceOperation], shapes: Mapping[str, tuple[int, ...]]
) -> dict[int, Fit]:
    """Return the first way in which each of the source's layers fits, without what has no place."""
    found = {}
    for number, source in enumerate(sources):
        whole = next((fit for fit in fits(module, source, shapes) if fit.way == "plain"), None)
        if whole is not None:
            found[number] = whole
    return found


def _described(
    module: nn.Module, name: str, source: SourceOperation, fit: Fit, fitting: int, rivals: int
) -> dict[str, Any]:
    if fitting == rivals == 1:
        evidence = "the only layer of its kind and shape on both sides"
    elif fitting == rivals:
        evidence = f"by order among {fitting} of its kind and shape on both sides"
    else:
        evidence = f"a guess: {fitting} layers of the source fit, and {rivals} of PyTorch's take them"
    return {
        "module": name,
        "layer": source.name,
        "kind": fit.kind,
        "moved": [each._asdict() for each in fit.moved],
        "constants": [
            {"leaf": leaf, "value": value, "shape": list(getattr(module, leaf).shape)}
            for leaf, value in fit.constants
        ],
        "folded": "",
        "lost_bias": fit.lost_bias,
        "error": None,
        "activated": not isinstance(getattr(module, "act", None), nn.Identity | None),
        "evidence": evidence,
    }


if __name__ == "__main__":
    serve_request(draft)
