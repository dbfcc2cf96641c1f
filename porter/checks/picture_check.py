"""Real pictures in a parity check: how each side prepares them, and what each network sees in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from porter.parity.outcome import Guess, PictureResult
from porter.recordings.pictures import decode, prepare
from porter.recordings.recording import Recording
from porter.runners.job import Job
from porter.tables.variants import InputSpec
from porter.tensors import Array

_BEST = 5


def prepared_batch(paths: Sequence[Path], spec: InputSpec, size: int) -> Array:
    """Return the pictures as the source's evaluation prepares them, (N, size, size, 3) float32."""
    return np.stack([prepare(decode(path), spec, size) for path in paths])


def picture_results(
    paths: Sequence[Path], given: Array, expected: Recording, actual: Recording, jobs: tuple[Job, Job]
) -> tuple[PictureResult, ...]:
    """Compare preparation and best classes of every picture.

    Args:
        paths: The picture files.
        given: What both networks were given, (N, H, W, 3).
        expected: The reference's recording.
        actual: The ported network's recording.
        jobs: Their jobs, the reference's first; their `pictures_out` hold each side's own preparation.
    """
    source, target = (load_file(job.pictures_out) for job in jobs)
    best = [_logits(recording, len(paths)) for recording in (expected, actual)]
    best.append(target["logits"] if best[0].size else best[0])
    return tuple(
        PictureResult(
            file=path.name,
            source_difference=_largest(given[number] - source["prepared"][number]),
            target_difference=_largest(target["prepared"][number] - source["prepared"][number]),
            expected=_guesses(best[0][number]),
            actual=_guesses(best[1][number]),
            target=_guesses(best[2][number]),
        )
        for number, path in enumerate(paths)
    )


def _logits(recording: Recording, pictures: int) -> Array:
    """Return (N, K), with K = 0 for a network without classes."""
    logits = recording.runs[0].stages.get("logits")
    return np.empty((pictures, 0)) if logits is None else logits.channels_first().reshape(pictures, -1)


def _largest(difference: Array) -> float:
    return float(np.abs(difference).max())


def _guesses(logits: Array) -> tuple[Guess, ...]:
    exponents = np.exp(logits.astype(np.float64) - logits.max(initial=-np.inf))
    probabilities = exponents / exponents.sum()
    best = np.argsort(probabilities)[::-1][:_BEST]
    return tuple(Guess(int(index), float(probabilities[index])) for index in best)
