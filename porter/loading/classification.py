"""What a ported network sees in images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from porter.core.checkpoint import Array
from porter.errors import OutputError
from porter.loading.labels import Labels
from porter.loading.load_model import load_model
from porter.loading.ported_file import Ported, read_metadata
from porter.networks.any_target import answer_of
from porter.recordings.images import decode, prepare
from porter.tables.table_records import InputSpec


class Prediction(NamedTuple):
    """One class of one image.

    Attributes:
        number: Of the class, as the network counts.
        label: Its name.
        probability: Softmax over all classes; of each class by itself if the source's classifier ends in a
            sigmoid.
    """

    number: int
    label: str
    probability: float


class Classifier:
    """A ported network with the preparation that its file describes.

    Attributes:
        ported: What the file says of itself.
        classes: How many classes the network has.
        activation: ``"softmax"``, or ``"sigmoid"`` if each class has a probability of its own.

    Args:
        path: A file written by ``port-weights``.
        trust_table: As for `load_model`.
        device: Where the network runs, as for `load_model`.

    Raises:
        OutputError: the file was not written by porter, or its network gives no classes or takes no
            colour images.
        MissingDependencyError: torch or timm is not installed.
    """

    def __init__(self, path: Path, *, trust_table: bool = False, device: str = "cpu") -> None:
        self._path, self._device = path, device
        self.ported = read_metadata(path)
        self._spec = _input_spec(self.ported, path)
        self._model = load_model(path, trust_table=trust_table, device=device)
        self.classes = _classes(self._model, self._spec.size, device)
        if self.classes == 0:
            raise OutputError("classify/no-classes", "the network has no classifier", file=path)
        self.activation = _activation(self.ported, self.classes, path)

    def see(self, image: Path, labels: Labels, count: int = 5) -> tuple[Prediction, ...]:
        """Return the `count` likeliest classes of an image file, likeliest first.

        Raises:
            ParityError: the file cannot be read as an image.
        """
        probabilities = self.probabilities(prepare(decode(image), self._spec, self._spec.size))
        best = np.argsort(-probabilities, kind="stable")[:count]
        return tuple(Prediction(int(i), labels.name(int(i)), float(probabilities[i])) for i in best)

    def logits(self, images: Array) -> Array:
        """Return (N, classes) float32 for prepared images, (N, H, W, 3) float32."""
        batch = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(self._device)
        with torch.inference_mode():
            logits: Array = answer_of(self._model(batch)).float().cpu().numpy()
        return logits

    def probabilities(self, pixels: Array) -> Array:
        """Return (classes,) float64 for one prepared image, (size, size, 3) float32.

        Raises:
            OutputError: a weight of the network is NaN or infinite, or overflows.
        """
        image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None].to(self._device)
        with torch.inference_mode():
            logits = answer_of(self._model(image))[0].double().cpu()
        probabilities = logits.sigmoid() if self.activation == "sigmoid" else logits.softmax(0)
        result: Array = probabilities.numpy()
        if not np.isfinite(result).all():
            raise OutputError("classify/not-finite", "the network's answer is not finite", file=self._path)
        return result


def _classes(model: torch.nn.Module, size: int, device: str) -> int:
    """Return how many classes a network has, 0 if it answers with something else than classes."""
    stated: Any = getattr(model, "num_classes", None)
    if stated is not None:
        return int(stated)
    with torch.inference_mode():
        answer = answer_of(model(torch.zeros(1, 3, size, size, device=device)))
    return answer.shape[1] if answer.ndim == 2 else 0


def _activation(ported: Ported, classes: int, path: Path) -> str:
    """Return what makes probabilities of logits; a single class has none among others."""
    stated = ported.classifier_activation
    if stated not in ("softmax", "sigmoid"):
        raise OutputError(
            "classify/activation",
            "the source's classifier does not end in probabilities",
            file=path,
            expected="softmax or sigmoid",
            found=stated,
        )
    return "sigmoid" if classes == 1 else stated


def _input_spec(ported: Ported, path: Path) -> InputSpec:
    spec = ported.input
    channels = ported.arguments.get("in_chans", 3)
    if channels != 3:
        raise OutputError(
            "classify/input",
            "images can be prepared for networks that take three colours",
            file=path,
            found=f"{channels} channels",
        )
    return InputSpec(
        size=int(spec["size"]),
        square=True,
        mean=tuple(spec["mean"]),
        std=tuple(spec["std"]),
        crop_pct=float(spec["crop_pct"]),
        interpolation=spec["interpolation"],
        channel_order=spec.get("channel_order", "rgb"),
    )
