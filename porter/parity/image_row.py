"""One image of an agreement: what both networks answer, and which step makes the difference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from porter.core.checkpoint import Array

BEST = 5
# Networks in float32 differ by less on the same pixels; what is above it has a cause.
ROUNDING = 1e-5
_FAR_CLOSER = 0.02
_SMALLEST = 1e-300  # below which a probability has no logarithm


class Answers(NamedTuple):
    """Logits of one image (K,) float32, from the source's network on its pixels to the port on its own.

    Attributes:
        source: TensorFlow's network on the source's pixels.
        same_pixels: PyTorch's network on these pixels.
        same_decoded: PyTorch's network on the port's preparation of TensorFlow's decoded image.
        ported: PyTorch's network on the port's preparation of the image that Pillow decoded.
    """

    source: Array
    same_pixels: Array
    same_decoded: Array
    ported: Array


@dataclass(frozen=True, slots=True)
class ImageRow:
    """What became of one image.

    Attributes:
        index: Its place in the data set, from 0.
        part: The part of the data set that it was read with.
        key: Its name.
        label: As the data set has it, or None.
        fault: Why it could not be used, or "".
        source_best: The source's likeliest classes, likeliest first.
        source_probabilities: Of these.
        ported_best: Likewise of the port.
        ported_probabilities: Of these.
        difference: Largest difference of a class's probability between source and port.
        decode: Largest difference that the decoders make, through PyTorch's network.
        resize: Likewise what crop, resize, scaling and order of colours make.
        network: Likewise what the networks make on the same pixels.
        divergence: Kullback-Leibler divergence of the port's probabilities from the source's, nats.
        decoded_pixels: Largest difference of the prepared pixels that the decoders make.
        resized_pixels: Likewise crop, resize, scaling and order; None if the sizes differ.
        turned: Whether the networks agree once the colours of the pixels are turned round.
    """

    index: int
    part: int
    key: str
    label: int | str | None
    fault: str = ""
    source_best: tuple[int, ...] = ()
    source_probabilities: tuple[float, ...] = ()
    ported_best: tuple[int, ...] = ()
    ported_probabilities: tuple[float, ...] = ()
    difference: float = 0.0
    decode: float = 0.0
    resize: float = 0.0
    network: float = 0.0
    divergence: float = 0.0
    decoded_pixels: float | None = None
    resized_pixels: float | None = None
    turned: bool = False

    @property
    def agrees(self) -> bool:
        """Whether both say the same class first."""
        return self.source_best[:1] == self.ported_best[:1]

    @property
    def cause(self) -> str:
        """The step that makes the largest difference: ``"decode"``, ``"resize"`` or ``"network"``."""
        return max(("network", "resize", "decode"), key=lambda step: float(getattr(self, step)))

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON-ready data."""
        return asdict(self)

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> ImageRow:
        """Read what `to_json` wrote."""
        lists = {name: tuple(value) for name, value in described.items() if name.endswith(("best", "ties"))}
        return cls(**{**described, **lists})


def compared(answers: Answers, activation: str) -> dict[str, Any]:
    """Return the answers' part of an `ImageRow`, by name.

    Args:
        answers: The logits.
        activation: ``"softmax"`` or ``"sigmoid"``, which makes probabilities of them.
    """
    chain = [_of_classes(probabilities(logits, activation)) for logits in answers]
    if activation == "sigmoid" and answers.source.shape[-1] == 1:
        activation = "softmax"  # of both classes together
    source, ported = chain[0], chain[-1]
    network, resize, decode = (_largest(one - other) for one, other in pairwise(chain))
    best = {name: _best(values) for name, values in (("source", source), ("ported", ported))}
    return {
        **{f"{name}_best": found for name, found in best.items()},
        "source_probabilities": tuple(float(source[i]) for i in best["source"]),
        "ported_probabilities": tuple(float(ported[i]) for i in best["ported"]),
        "difference": _largest(source - ported),
        "decode": decode,
        "resize": resize,
        "network": network,
        "divergence": _divergence(source, ported, activation),
    }


def probabilities(logits: Array, activation: str) -> Array:
    """Return the probabilities of logits (..., K), float64."""
    wide = logits.astype(np.float64)
    if activation == "sigmoid":
        return np.exp(-np.logaddexp(0, -wide))
    exponents = np.exp(wide - wide.max(-1, keepdims=True))
    result: Array = exponents / exponents.sum(-1, keepdims=True)
    return result


def counted_classes(classes: int) -> int:
    """Return how many classes a network with so many outputs tells apart: one output says yes or no."""
    return max(classes, 2)


def _of_classes(values: Array) -> Array:
    """Return a probability of every class; a single output is class 1's, and class 0 has the rest."""
    return np.concatenate([1 - values, values]) if len(values) == 1 else values


def agrees_better(source: Array, other: Array, than: Array, activation: str) -> bool:
    """Whether logits (K,) are far closer to the source's than others, which are not the same to rounding."""
    wanted = probabilities(source, activation)
    found, before = (_largest(wanted - probabilities(logits, activation)) for logits in (other, than))
    return before > ROUNDING and found < _FAR_CLOSER * before


def _best(values: Array) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argsort(-values, kind="stable")[:BEST])


def _largest(difference: Array) -> float:
    return float(np.abs(difference).max(initial=0.0))


def _divergence(source: Array, ported: Array, activation: str) -> float:
    def of(p: Array, q: Array) -> float:
        terms = p * (np.log(np.maximum(p, _SMALLEST)) - np.log(np.maximum(q, _SMALLEST)))
        return math.fsum(terms)

    total = of(source, ported)
    return total if activation == "softmax" else total + of(1 - source, 1 - ported)
