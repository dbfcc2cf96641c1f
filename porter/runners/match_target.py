"""PyTorch's side of a match: finds the layers, then proves that both networks compute the same.

``python -m porter.runners.match_target`` takes a request on stdin (`porter.runners.children`).
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from porter.core.checkpoint import Array
from porter.errors import ParityError
from porter.networks.any_target import adjust, build_target
from porter.runners.bare_parameters import BareParameter
from porter.runners.children import serve_request
from porter.runners.joined_attention import is_inside
from porter.runners.layer_finder import together
from porter.runners.layer_fits import WITH_EPSILON
from porter.runners.network_ends import output_tensors
from porter.runners.source_recording import RunOutputs, SourceRecording
from porter.runners.target_layers import channels_last, difference, load
from porter.runners.target_search import Search, Step
from porter.same_padding import emulate_same_padding

_PROVED = 1e-11
# Large images saturate softmaxes, whose rounding grows with their inputs; what is missing shows all the same.
_LARGE_PROVED = 1e-8
_COUNTER = "num_batches_tracked"


def match(request: Mapping[str, Any]) -> dict[str, Any]:
    """Match a PyTorch network with a recorded source, and prove it.

    Args:
        request: ``library``, ``name`` and ``arguments`` of the target, ``folder`` of the recording,
            ``threads``.

    Returns:
        What was found: ``layers``, ``modules`` (names of all that have parameters), ``adjust``, ``findings``,
        ``proof``, ``others``.
    """
    torch.set_num_threads(int(request["threads"]))
    started = time.perf_counter()
    source = SourceRecording(Path(request["folder"]))
    model = _build(request)
    first = source.runs[0]
    outputs = source.outputs(first)
    search = Search(model, source, outputs, source.weights(first["weights"]))
    images = _images(source, outputs)
    complete = _searched(search, images, request, first["size"])
    others = search.others(images) if complete else []
    adjustments = _adjustments(search, request)
    matched = time.perf_counter() - started
    proof, unproved, notes = _prove(search, request, adjustments) if complete else ([], [], [])
    return {
        "layers": [_described(search, step) for step in search.steps if not step.finding],
        "modules": list(
            dict.fromkeys([*(search.names[each.module] for each in search.steps), *search.owners.values()])
        ),
        "adjust": adjustments,
        "findings": list(dict.fromkeys([*search.findings, *unproved, *search.refused()])),
        "others": others,
        "notes": [*search.ends.notes, *_scales(search), *notes],
        "proof": proof,
        "end": next((source.operations[each.number].name for each in search.ends.found), None),
        "attempts": search.attempts,
        "seconds": {"match": matched, "prove": time.perf_counter() - started - matched},
        "parameters": _parameters(model),
        "packages": ["torch", *([request["library"]] if request["library"] != "torch" else [])],
    }


def _import_library(name: str) -> None:
    """Import the target's library, which takes as long as torch, while TensorFlow still runs."""
    with suppress(Exception):  # what builds the network says it
        importlib.import_module(name)


def _build(request: Mapping[str, Any]) -> nn.Module:
    model = build_target(request["library"], request["name"], request["arguments"])
    # Views of parameters are kept while the values change.
    return model.double().eval().requires_grad_(requires_grad=False)


def _images(source: SourceRecording, outputs: RunOutputs) -> torch.Tensor:
    values = np.array(outputs[source.image], np.float64)
    return (
        torch.from_numpy(values).permute(0, 3, 1, 2).contiguous()
        if values.ndim == 4
        else torch.from_numpy(values)
    )


def _searched(search: Search, images: torch.Tensor, request: Mapping[str, Any], size: Sequence[int]) -> bool:
    try:
        return search.run(images)
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise ParityError(
            "match/target-size",
            f"{request['name']} does not take {size[0]}x{size[1]} pixels ({type(error).__name__}: {first})",
        ) from error


def _adjustments(search: Search, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was changed in the network, as a table says it."""
    padded = [search.names[module] for module in search.pools.padded]
    epsilons: dict[str, float] = {}
    for step in search.steps:
        name = search.names[step.module]
        if step.chosen.adjusted.get("same_padding"):
            padded.append(name)
        if "eps" in step.chosen.adjusted:
            epsilons[name] = step.chosen.adjusted["eps"]
    found: dict[str, Any] = {}
    if padded:
        changes = emulate_same_padding(_build(request))
        usual = {change.name for change in changes if change.action == "dynamic"}
        found["same_padding"] = True if usual == set(padded) else list(dict.fromkeys(padded))
    if search.pools.averaging:
        found["average_without_padding"] = [search.names[module] for module in search.pools.averaging]
    if epsilons:
        norms = {name for module, name in search.owners.items() if isinstance(module, WITH_EPSILON)}
        values = set(epsilons.values())
        found["eps"] = values.pop() if len(values) == 1 and set(epsilons) == norms else epsilons
    return found


def _described(search: Search, step: Step) -> dict[str, Any]:
    chosen, operations = step.chosen, search.source.operations
    return {
        "module": search.names[step.module],
        "class": type(step.module).__name__,
        "layer": ", ".join(operations[number].name for number in chosen.numbers),
        "operation": chosen.number,
        "kind": chosen.fit.kind,
        "moved": [each._asdict() for each in chosen.fit.moved],
        "constants": [
            {"leaf": leaf, "value": value, "shape": list(getattr(step.module, leaf).shape)}
            for leaf, value in chosen.fit.constants
        ],
        "folded": chosen.folded,
        "lost_bias": chosen.fit.lost_bias,
        "adjusted": chosen.adjusted,
        "activated": not isinstance(getattr(step.module, "act", None), nn.Identity | None),
        "error": chosen.error,
    }


def _scales(search: Search) -> Iterator[str]:
    """Say which kernels are multiplied by a factor that PyTorch leaves out in front of them."""
    found: dict[float, list[str]] = {}
    for step in search.steps:
        for scale in {each.scale for each in step.chosen.fit.moved} - {1.0}:
            found.setdefault(scale, []).append(search.names[step.module])
    for scale, names in found.items():
        yield f"the kernel makes up for a factor {scale:g} of the source's input: {', '.join(names)}"


def _parameters(model: nn.Module) -> dict[str, list[int]]:
    return {
        name: list(value.shape) for name, value in model.state_dict().items() if not name.endswith(_COUNTER)
    }


# ---- proof ----


def _prove(
    search: Search, request: Mapping[str, Any], adjustments: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """Run both networks with all weights; return the results, what speaks against a proof, and notes."""
    source = search.source
    model = _build(request)
    adjust(model, adjustments)
    modules = dict(model.named_modules())
    steps = [(modules[search.names[step.module]], step) for step in search.steps]
    left = _left(model, search)
    proof: list[dict[str, Any]] = []
    against, notes = [f"{name} is given nothing" for name in left], []
    loaded = ""
    for run in sorted(source.runs[1:], key=lambda each: str(each["weights"])):
        if run["weights"] != loaded:
            loaded = run["weights"]
            weights = source.weights(loaded)
            _load_all(steps, weights)
        size = "x".join(map(str, run["size"]))
        allowed = _PROVED if run["factor"] == 1 else _LARGE_PROVED
        try:
            worst, where = _worst(model, steps, source.outputs(run), search, weights, allowed)
        except (RuntimeError, AssertionError, ValueError) as error:
            notes.append(f"{request['name']} does not take {size} pixels ({_first_line(error)})")
            continue
        proof.append({"weights": loaded, "size": size, "worst": worst, "where": where})
        if not worst < allowed:
            against.append(f"{size} pixels, {loaded}: {where} differs by {worst:.1e} of its largest value")
    return proof, against, list(dict.fromkeys(notes))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]


def _left(model: nn.Module, search: Search) -> list[str]:
    """Return the parameters and buffers that no layer of the source gives a value."""
    given = {
        f"{search.names[step.module]}.{leaf}".lstrip(".")
        for step in search.steps
        for leaf in (
            *(each.leaf for each in step.chosen.fit.moved),
            *(leaf for leaf, _ in step.chosen.fit.constants),
        )
    }
    return [name for name in _parameters(model) if name not in given]


def _load_all(steps: Sequence[tuple[nn.Module, Step]], weights: Mapping[str, Array]) -> None:
    for module, step in steps:
        folded = weights[step.chosen.folded].reshape(-1) if step.chosen.folded else None
        load(module, step.chosen.fit, weights, folded)


def _worst(
    model: nn.Module,
    steps: Sequence[tuple[nn.Module, Step]],
    outputs: RunOutputs,
    search: Search,
    weights: Mapping[str, Array],
    allowed: float,
) -> tuple[float, str]:
    """Return the first difference of a layer's output or of the end that is not allowed, or the worst.

    Returns:
        The difference, and where it is.
    """
    given: list[tuple[nn.Module, torch.Tensor]] = []
    steps = [
        (module, step)
        for module, step in steps
        if not isinstance(step.module, BareParameter) and not is_inside(step.module)
    ]
    with _recording({module for module, _ in steps}, given), torch.no_grad():
        ends = output_tensors(model(_images(search.source, outputs)))
    if [module for module, _ in given] != [module for module, _ in steps]:
        return float("inf"), "the order of layers"
    found = [
        (_error(module, step, value, outputs, search, weights), search.names[step.module])
        for (module, step), (_, value) in zip(steps, given, strict=True)
    ]
    for place, _, number in search.ends.found:
        found.append((difference(channels_last(ends[place], model), outputs[number]), "the output"))
    return next((each for each in found if not each[0] < allowed), max(found, key=lambda each: each[0]))


def _error(
    module: nn.Module,
    step: Step,
    value: torch.Tensor,
    outputs: RunOutputs,
    search: Search,
    weights: Mapping[str, Array],
) -> float:
    values, lost = channels_last(value, module), step.chosen.fit.lost_bias
    found = []
    if step.chosen.joined:
        return difference(values, together(step.chosen, search.source, outputs))
    for number in search.source.behind(step.chosen.number):
        if number in outputs:
            wanted = outputs[number] - weights[lost].reshape(-1) if lost else outputs[number]
            found.append(difference(values, wanted))
        if lost:
            break
    return min(found, default=0.0)


@contextmanager
def _recording(modules: set[nn.Module], into: list[tuple[nn.Module, torch.Tensor]]) -> Iterator[None]:
    def keep(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        into.append((module, output.detach().clone()))  # an activation in place would change it

    hooks = [module.register_forward_hook(keep) for module in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


if __name__ == "__main__":
    serve_request(match, prepare=_import_library)
