"""Real images in a parity check: how each side prepares them, and what each network sees in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file

from porter.core.checkpoint import Array
from porter.parity.outcome import ClassProbability, ImageResult
from porter.recordings.images import decode, prepare
from porter.recordings.recording import Recording
from porter.runners.job import Job
from porter.tables.table_records import InputSpec

_BEST = 5


def prepared_batch(paths: Sequence[Path], spec: InputSpec, size: int) -> Array:
    """Return the images as the source's evaluation prepares them, (N, size, size, 3) float32."""
    return np.stack([prepare(decode(path), spec, size) for path in paths])


def image_results(
    paths: Sequence[Path], given: Array, expected: Recording, actual: Recording, jobs: tuple[Job, Job]
) -> tuple[ImageResult, ...]:
    """Compare preparation and best classes of every image.

    Args:
        paths: The image files.
        given: What both networks were given, (N, H, W, 3).
        expected: The reference's recording.
        actual: The ported network's recording.
        jobs: Their jobs, the reference's first; their `images_out` hold each side's own preparation.
    """
    reference, port = jobs
    target = load_file(port.images_out)
    source = load_file(reference.images_out) if Path(reference.images_out).exists() else None
    own = given if source is None else source["prepared"]
    sides = [_probabilities(_logits(recording, len(paths))) for recording in (expected, actual)]
    sides.append(_probabilities(target["logits"]) if sides[0].size else sides[0])
    names = json.loads(_metadata(port)["labels"])
    return tuple(
        ImageResult(
            file=path.name,
            source_difference=None if source is None else _largest(given[number] - own[number]),
            target_difference=_largest(target["prepared"][number] - own[number]),
            expected=_guesses(sides[0][number], names),
            actual=_guesses(sides[1][number], names),
            target=_guesses(sides[2][number], names),
            probability_difference=_largest(sides[0][number] - sides[1][number]),
        )
        for number, path in enumerate(paths)
    )


def label_source(port: Job) -> str:
    """Return in words where the ported network's names of classes come from."""
    return _metadata(port)["label_source"]


def _metadata(port: Job) -> dict[str, str]:
    with safe_open(port.images_out, framework="numpy") as file:
        found: dict[str, str] = file.metadata()
    return found


def _logits(recording: Recording, images: int) -> Array:
    """Return (N, K), with K = 0 for a network without classes."""
    logits = recording.runs[0].stages.get("logits")
    return np.empty((images, 0)) if logits is None else logits.channels_first().reshape(images, -1)


def _largest(difference: Array) -> float:
    return float(np.abs(difference).max(initial=0.0))


def _probabilities(logits: Array) -> Array:
    """Return the softmax over the last axis, float64."""
    exponents = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True, initial=-np.inf))
    result: Array = exponents / exponents.sum(-1, keepdims=True)
    return result


def _guesses(probabilities: Array, names: Sequence[str]) -> tuple[ClassProbability, ...]:
    best = np.argsort(-probabilities, kind="stable")[:_BEST]
    return tuple(ClassProbability(int(i), float(probabilities[i]), names[i] if names else "") for i in best)
