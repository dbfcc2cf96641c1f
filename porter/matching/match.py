"""`porter.match`: find how the variables of a network map to another implementation of it, and prove it."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from porter.checkpoints import open_checkpoint
from porter.checkpoints.carried import carried_network
from porter.core.checkpoint import Checkpoint
from porter.errors import ParityError
from porter.matching.drafting import draft_of
from porter.matching.result import MatchedLayer, MatchResult, Run
from porter.matching.target import Target, parse_target, with_classes
from porter.runners.children import ask, asked_later
from porter.runners.process import default_threads

_SEEDS = (1, 2)
_TIMEOUT = 1800.0
_LARGE = (224, 224)  # what networks that take one size take, nearly all of them
_KERNELS = ("conv", "dense", "einsum")
_ROUNDED = 3e-7  # five roundings to float32: two constants, their inverses and products


def match(
    source: str | os.PathLike[str],
    target: str,
    *,
    function: str = "",
    arguments: Sequence[str] = (),
    adjust: bool = False,
    size: tuple[int, int] | None = None,
) -> MatchResult:
    """Find the mapping from a TensorFlow network to a PyTorch network by running both, and prove it.

    Args:
        source: A file that carries its network (``.h5``, ``.keras``, SavedModel, frozen graph), or a
            checkpoint together with `function`. A checkpoint alone gives a draft, by kind, shape and order.
        target: ``timm:NAME``, ``torchvision:NAME``, ``transformers:CLASS`` or ``package.module:function``
            (returns a `torch.nn.Module`).
        function: ``package.module:function`` that returns the Keras model or `tf.Module` whose weights
            `source` holds. It is imported and called.
        arguments: ``name=value`` for what builds the target.
        adjust: Whether the PyTorch network may be changed (padding, epsilon) so that the two agree.
        size: Height and width of the images to match with; the smallest that the source takes if None.

    Raises:
        MissingDependencyError: TensorFlow or torch is not installed.
        PorterError: one of the sides cannot be built or run.

    Example:
        >>> porter.match("ckpt-1", "timm:mobilenetv1_100").status  # ckpt-1 holds weights alone
        'draft'
    """
    aim = parse_target(target, arguments)
    with tempfile.TemporaryDirectory() as folder, open_checkpoint(source) as checkpoint:
        if not function and carried_network(checkpoint) is None:
            return draft_of(checkpoint, str(source), aim, _paths(checkpoint))
        request = {
            "source": str(Path(source).absolute()),
            "function": function,
            "size": size,
            "seeds": list(_SEEDS),
            "out": folder,
        }
        seconds = {"tensorflow": 0.0, "torch": 0.0}
        try:
            recorded, aim, found = _run_both(request, aim, seconds)
        except ParityError as error:
            if error.code != "match/target-size" or size is not None:
                raise
            recorded, aim, found = _run_both({**request, "size": _own_size(Path(folder))}, aim, seconds)
        return _result(
            str(source), function, aim, checkpoint, recorded, found, seconds=seconds, adjust=adjust
        )


def _run_both(
    request: Mapping[str, Any], target: Target, seconds: dict[str, float]
) -> tuple[Any, Target, Any]:
    """Record the source and find its layers; PyTorch's process imports its libraries while TensorFlow runs.

    Returns:
        What was recorded, the target with as many classes, and what was found.
    """
    threads = default_threads()
    with asked_later("torch", "match_target", threads=threads, early=target.library) as asking:
        started = time.perf_counter()
        recorded = ask("tensorflow", "match_source", request, threads=threads, timeout=_TIMEOUT)
        between = time.perf_counter()
        target = with_classes(target, classes_of(recorded))
        wanted = {
            "library": target.library,
            "name": target.name,
            "arguments": dict(target.arguments),
            "folder": request["out"],
            "threads": threads,
        }
        try:
            return recorded, target, asking(wanted, _TIMEOUT)
        finally:
            seconds["tensorflow"] += between - started
            seconds["torch"] += time.perf_counter() - between


def _own_size(folder: Path) -> tuple[int, int]:
    """Return the size that a recorded source takes."""
    declared = json.loads((folder / "source.json").read_text(encoding="utf-8"))["declared"]
    return (declared[1], declared[2]) if declared and all(declared[1:3]) else _LARGE


def classes_of(recorded: Mapping[str, Any]) -> int | None:
    """Return how many classes the source tells apart; None where it ends with no dense layer."""
    operations = recorded["operations"]
    number = recorded["outputs"][0]
    for _ in range(3):
        operation = operations[number]
        kernel = operation["variables"].get("kernel")
        if kernel and operation["kind"] in _KERNELS:
            return int(recorded["shapes"][kernel][-1])
        if not operation["inputs"]:
            return None
        number = operation["inputs"][0]
    return None


def _result(
    source: str,
    function: str,
    target: Target,
    checkpoint: Checkpoint,
    recorded: Mapping[str, Any],
    found: Mapping[str, Any],
    *,
    seconds: Mapping[str, float],
    adjust: bool,
) -> MatchResult:
    paths = _paths(checkpoint)
    shapes = recorded["shapes"]
    return MatchResult(
        source=source,
        function=function,
        target=target,
        layers=tuple(_layer(each, paths, shapes) for each in found["layers"]),
        source_layers=tuple(recorded["layers"]),
        modules=tuple(found["modules"]),
        adjustments=found["adjust"],
        adjusted=adjust,
        findings=(*found["findings"], *recorded["untested"]),
        others=tuple(found["others"]),
        proof=tuple(Run(**run) for run in found["proof"]),
        notes=(*recorded["notes"], *found["notes"]),
        end=found["end"],
        image=_image(recorded),
        preparing=tuple(paths.get(key, key) for key in recorded["preparing"]),
        versions=_versions([*recorded["packages"], *found["packages"]]),
        seconds=seconds,
        attempts=found["attempts"],
        parameters=found["parameters"],
    )


def _layer(found: Mapping[str, Any], paths: Mapping[str, str], shapes: Mapping[str, Any]) -> MatchedLayer:
    moved = [
        {**each, "path": paths.get(each["key"], each["key"]), "shape": list(shapes[each["key"]])}
        for each in found["moved"]
    ]
    folded, lost = (paths.get(found[name], found[name]) for name in ("folded", "lost_bias"))
    return MatchedLayer(
        found["module"],
        found["layer"],
        found["kind"],
        moved,
        found["constants"],
        folded,
        lost,
        found["error"],
        found["activated"],
        adjusted=tuple(found["adjusted"]),
    )


def _paths(checkpoint: Checkpoint) -> dict[str, str]:
    """Return an object path for each key: the layer's edge, and not a place in a list of all variables."""
    graph = checkpoint.graph
    found = {}
    for key, node in graph.node_of_key.items():
        aliases = graph.aliases(node)
        layers = [path for path in aliases if path.startswith("layer_with_weights-")]
        found[key] = (layers or aliases or [graph.paths[node] or key])[0]
    return found


def _image(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the source says of its images: size, and the scaling in front of its first layer."""
    declared = recorded["declared"] or [None] * 4
    base = recorded["runs"][0]["size"]
    size = declared[1] or base[0]
    operation = recorded["operations"][recorded["image"]]
    mean, std, known = [0.0], [1.0], False
    scale, offset = (np.atleast_1d(operation["attributes"].get(name) or 0.0) for name in ("scale", "offset"))
    if operation["kind"] == "scale" and (scale > 0).all():
        std = [_written(value) for value in 1 / (255 * scale)]
        mean, known = [_written(value) for value in -offset / (255 * scale)], True
    return {
        "size": int(size),
        "fixed": bool(declared[1]),
        "channels": declared[3] or 3,
        "mean": mean,
        "std": std,
        "known": known,
    }


def _written(value: float) -> float:
    """Return the number of few digits that somebody wrote, if float32 constants can be what became of it.

    Example:
        >>> _written(0.4849999539252072), _written(-0.0), _written(0.12345678)
        (0.485, 0.0, 0.12345678)
    """
    short = float(f"{value:.6g}")
    return short + 0.0 if abs(short - value) <= _ROUNDED * abs(value) else float(value)


def _versions(packages: Sequence[str]) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
