"""A draft of a mapping where no network can be run: layers are paired by kind, shape and order."""

from __future__ import annotations

import time
from collections.abc import Mapping

from porter.core.checkpoint import Checkpoint
from porter.matching.result import MatchedLayer, MatchResult
from porter.matching.stored_layers import stored_layers
from porter.matching.target import Target
from porter.runners.children import ask

_TIMEOUT = 600.0
_SIZE = 224
_UNRUN = (
    "no network of the source was run, for it stores weights alone: "
    "--source MODULE:FUNCTION names the code that builds it"
)


def draft_of(checkpoint: Checkpoint, source: str, target: Target, paths: Mapping[str, str]) -> MatchResult:
    """Pair the layers of a checkpoint that stores weights alone with those of a PyTorch network.

    Args:
        checkpoint: The source.
        source: As the person named it.
        target: The PyTorch network.
        paths: Object path by key.

    Returns:
        A draft: every pair with what speaks for it.

    Raises:
        MissingDependencyError: torch is not installed.
        PorterError: the PyTorch network cannot be built.
    """
    layers = list(stored_layers(checkpoint, paths))
    shapes = {key: checkpoint.specs[key].shape for layer in layers for key in layer["variables"].values()}
    request = {**target._asdict(), "arguments": dict(target.arguments), "layers": layers, "shapes": shapes}
    started = time.perf_counter()
    found = ask("torch", "structure_target", request, threads=1, timeout=_TIMEOUT)
    matched = []
    for layer in found["layers"]:
        moved = [
            {**each, "path": paths.get(each["key"], each["key"]), "shape": list(shapes[each["key"]])}
            for each in layer["moved"]
        ]
        matched.append(MatchedLayer(**{**layer, "moved": moved}))
    return MatchResult(
        source=source,
        function="",
        target=target,
        layers=tuple(matched),
        source_layers=tuple(layer["name"] for layer in layers),
        modules=tuple(found["modules"]),
        adjustments={},
        adjusted=False,
        findings=(_UNRUN, *found["findings"], *_unclear(matched)),
        others=(),
        proof=(),
        notes=(),
        end=None,
        image={"size": _SIZE, "fixed": False, "channels": 3, "mean": [0.0], "std": [1.0], "known": False},
        preparing=(),
        versions={},
        seconds={"torch": time.perf_counter() - started},
        attempts=0,
    )


def _unclear(layers: list[MatchedLayer]) -> list[str]:
    guessed = [each for each in layers if each.evidence.startswith("a guess")]
    return [f"{each.module} takes {each.layer}: {each.evidence}" for each in guessed]
