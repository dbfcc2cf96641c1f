"""TensorFlow's side of a match: runs a source's network in float64 and records what every layer computes.

``python -m porter.runners.match_source`` takes a request on stdin (`porter.runners.children`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from porter.checkpoints import open_checkpoint
from porter.core.checkpoint import Array
from porter.errors import ParityError
from porter.recordings.layer_weights import random_weights
from porter.runners.activation_reach import reach, unreached
from porter.runners.children import serve_request
from porter.runners.fed_network import FedNetwork, Size
from porter.runners.graph_operations import (
    UNARY,
    SourceOperation,
    image_operation,
    preparing,
    read_operations,
    unstated_preparation,
)
from porter.runners.matched_network import load
from porter.runners.source_keys import constant_keys

# Images and outputs of norms so much larger bring signals past caps that PyTorch may have and the source not.
_LARGE = 30.0
_DENSE = ("dense", "einsum")
_POOLS = ("avg_pool", "max_pool")
# Even and divisible by 32 first: there SAME pads one side more than the other at every stride.
_SMALL = (64, 96, 128, 160, 224)


class _Run(NamedTuple):
    """A recording: with which weights, at which size, of all operations or the layers alone, on which images.

    `factor` is how much larger than usual the images are.
    """

    weights: str
    size: Size
    whole: bool
    factor: float = 1.0


def record(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run a source and write what it computes.

    Args:
        request: ``source`` (a path), ``function`` ("package.module:function" or ""), ``size`` ((height,
            width) to match at, or None), ``seeds``, ``out`` (a folder).

    Returns:
        The document that is also written to ``out/source.json``.
    """
    out = Path(request["out"])
    with open_checkpoint(request["source"]) as checkpoint:
        network = load(checkpoint, request["function"])
        keys, assumed = constant_keys(network.graph, checkpoint)
        shapes = {key: checkpoint.specs[key].shape for key in keys.values()}
        read = read_operations(network.graph.SerializeToString(), network.outputs, keys, shapes.get)
        if read is None:
            raise ParityError("match/unread", "the source's graph is not in a form that is read")
        operations, ends = read
        weights = {"the source's own weights": {key: checkpoint.read(key) for key in shapes}}
    roles = {
        key: (each.kind, role.partition(" ")[0])
        for each in operations
        for role, key in each.variables.items()
    }
    for seed in request["seeds"]:
        weights[f"random weights, seed {seed}"] = random_weights(shapes, roles, seed)
    graph = FedNetwork(network, operations, keys)
    runs, notes, untested = _runs(graph, weights, request, operations, ends, out)
    for number, values in enumerate(weights.values()):
        _save(out / f"weights{number}.npz", {key.replace("/", "\\"): v for key, v in values.items()})
    image = image_operation(operations)
    document = {
        "words": network.words,
        "packages": list(network.packages),
        "operations": [asdict(operation) for operation in operations],
        "layers": [each.name for n, each in enumerate(operations) if each.variables and n > image],
        "outputs": ends,
        "image": image,
        "preparing": sorted(set(preparing(operations, image))),
        "shapes": shapes,
        "declared": network.shape,
        "weights": list(weights),
        "runs": runs,
        "notes": [*_preparation(operations, image), *notes],
        "untested": [*assumed, *untested],
    }
    (out / "source.json").write_text(json.dumps(document, default=str), encoding="utf-8")
    return document


def _preparation(operations: Sequence[SourceOperation], image: int) -> list[str]:
    """Say what a person must do to images that the table cannot state."""
    told = ", ".join(unstated_preparation(operations, image))
    return [f"the source prepares its images, and PyTorch takes what that gives: {told}"] if told else []


def _runs(
    graph: FedNetwork,
    weights: dict[str, dict[str, Array]],
    request: Mapping[str, Any],
    operations: Sequence[SourceOperation],
    ends: Sequence[int],
    out: Path,
) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """Fit random weights in place and run everything, first all operations, to match with."""
    names, everything = list(weights), range(len(operations))
    layers = {n for n in everything if operations[n].variables or n >= len(operations) - 4}
    # A module of PyTorch's may hold the activation that follows its layer.
    layers |= {n for n in everything if operations[n].kind in UNARY and layers & set(operations[n].inputs)}
    # Several of these may be one in PyTorch, whose output has the axes of what it takes.
    layers |= {
        operations[n].inputs[0] for n in layers if operations[n].kind in _DENSE and operations[n].inputs
    }
    base, sizes = _base(graph, weights[names[-1]], request.get("size"), operations)
    loud = f"{names[-1]}, images x {_LARGE:g}"
    drawn = {name: (weights[name], 1.0) for name in names[1:]} | {loud: (weights[names[-1]], _LARGE)}
    for name, (values, order) in drawn.items():
        weights[name] = _scaled(graph, values, order, sizes, operations)
    reach(weights[names[-1]], operations, lambda: _whole(graph, weights[names[-1]], base, operations))
    large = _Run(loud, base, whole=False, factor=_LARGE)
    plans = [_Run(names[-1], base, whole=True), *_proofs(names, sizes, graph.declared or base), large]
    runs: list[dict[str, Any]] = []
    notes: list[str] = []
    untested: list[str] = []
    for plan in plans:
        images = _images(graph, plan.size, operations) * plan.factor
        if plan.size[0] > 2 * base[0] and not graph.has_own_batch:
            images = images[:1]  # that images are apart is seen in the smaller runs
        numbers = everything if plan.whole else sorted({*layers, *ends, *_last(operations)})
        try:
            found = graph.run(weights[plan.weights], images, numbers)
        except (tf.errors.OpError, ValueError):
            found = {}
        if not all(len(found.get(n, ())) == len(images) for n in ends):
            notes.append(f"the source does not take {plan.size[0]}x{plan.size[1]} pixels")
            continue
        if not all(np.isfinite(value).all() for value in found.values()):
            notes.append(f"the source's values are not finite with {plan.weights}")
            continue
        if plan.whole:
            untested = [words for words, _ in unreached(operations, found)]
        file = f"run{len(runs)}.npz"
        _save(out / file, {"images": images, **{str(n): value for n, value in found.items()}})
        runs.append({"file": file, **plan._asdict()})
    return runs, list(dict.fromkeys(notes)), untested


def _scaled(
    graph: FedNetwork,
    weights: Mapping[str, Array],
    order: float,
    sizes: Sequence[Size],
    operations: Sequence[SourceOperation],
) -> dict[str, Array]:
    """Scale norms by images of twice the first size: the last maps of small ones are half padding."""
    side = sizes[0][0]
    for size in ((2 * side, 2 * side), sizes[0]) if len(sizes) > 1 else sizes[:1]:
        with suppress(tf.errors.OpError, ValueError):
            return graph.scaled(weights, order * _images(graph, size, operations), order)
    return dict(weights)


def _proofs(names: Sequence[str], sizes: Sequence[Size], own: Size) -> Iterator[_Run]:
    """Yield the runs that prove a match: the source's weights at its own size, random ones at the others.

    Its norms know the maps of that size; at another, rounding may grow in a deep network.
    """
    yield _Run(names[0], own, whole=False)
    random = names[1:] or names
    others = [size for size in sizes[1:] if size != own]
    yield from (_Run(name, sizes[0], whole=False) for name in names[1:])
    yield from (_Run(random[n % len(random)], size, whole=False) for n, size in enumerate(others))


def _whole(
    graph: FedNetwork, weights: Mapping[str, Array], size: Size, operations: Sequence[SourceOperation]
) -> dict[int, Array]:
    return graph.run(weights, _images(graph, size, operations), range(len(operations)))


def _save(file: Path, arrays: Mapping[str, Array]) -> None:
    np.savez(file, **arrays)  # type: ignore[arg-type]


def _last(operations: Sequence[SourceOperation]) -> set[int]:
    """Return what is needed besides the layers: the images as they take them, and the end."""
    return {image_operation(operations), len(operations) - 1}


def _images(graph: FedNetwork, size: Size, operations: Sequence[SourceOperation]) -> Array:
    generator = np.random.default_rng(size[0] * 1000 + size[1])
    shape = (graph.batch, *size, graph.channels)
    prepared = any(each.kind == "scale" for each in operations[: image_operation(operations) + 1])
    return generator.uniform(0, 255, shape) if prepared else generator.normal(0, 1, shape)


def _base(
    graph: FedNetwork,
    weights: Mapping[str, Array],
    wanted: Sequence[int] | None,
    operations: Sequence[SourceOperation],
) -> tuple[Size, list[Size]]:
    """Return the smallest size that the source takes, or its own, and all sizes to prove at."""
    declared = graph.declared
    small = [(n, n) for n in _SMALL if declared is None or n < min(declared)]
    odd = declared and _pads_unevenly(operations) and (declared[0] % 32 or declared[1] % 32)
    if odd or _resizes_to_constants(operations):
        small = []
    tried = [*small, *([declared] if declared else [])]
    if wanted:
        tried = [(wanted[0], wanted[1])]
    error: Exception | None = None
    for size in tried:
        try:
            found = graph.run(weights, _images(graph, size, operations), range(len(operations)))
        except (tf.errors.OpError, ValueError) as raised:
            error = raised
            continue
        if all(value.size for value in found.values()) and (size == tried[-1] or _attends(found, operations)):
            return size, _sizes(size, graph, operations, found)
    first = str(error).splitlines()[0] if error else "no size"
    raise ParityError("match/no-size", f"the source takes none of the sizes that were tried ({first[:200]})")


def _attends(found: Mapping[int, Array], operations: Sequence[SourceOperation]) -> bool:
    """Whether no softmax is over one element, behind which query and key would be all the same."""
    lengths = (
        found[n].shape[-1] for n, each in enumerate(operations) if each.kind == "softmax" and n in found
    )
    return all(length > 1 for length in lengths)


def _sizes(
    base: Size, graph: FedNetwork, operations: Sequence[SourceOperation], found: Mapping[int, Array]
) -> list[Size]:
    """Return an even, an odd and a mixed size, and its own; only that if it was made for it."""
    declared = graph.declared
    own = [declared] if declared else []
    is_fixed = _pads_unevenly(operations) or _resizes_to_constants(operations)
    if declared and (is_fixed or (base == declared and _pools_all(operations, found))):
        return own
    height, width = base
    return list(dict.fromkeys([base, (height + 11, width + 11), (height, width + 21), *own]))


def _pools_all(operations: Sequence[SourceOperation], found: Mapping[int, Array]) -> bool:
    """Whether a pool has a window of just the size that its map has at the source's own size of images."""
    return any(
        each.kind in _POOLS and tuple(each.attributes["size"]) == found[each.inputs[0]].shape[1:3]
        for each in operations
        if each.inputs and each.inputs[0] in found
    )


def _resizes_to_constants(operations: Sequence[SourceOperation]) -> bool:
    """Whether maps are resized to sizes that were worked out for one size of images."""
    image = image_operation(operations)
    return any(each.kind == "resize" and each.attributes["size"] for each in operations[image + 1 :])


def _pads_unevenly(operations: Sequence[SourceOperation]) -> bool:
    """Whether the source holds padding that was worked out for one size of images."""
    pads = [each.attributes.get("amounts") for each in operations if each.kind == "pad"]
    return any(before != after for pad in pads if pad for before, after in pad)


if __name__ == "__main__":
    serve_request(record)
