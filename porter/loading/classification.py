"""What a ported network sees in images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from porter.core.checkpoint import Array
from porter.data.items import Item
from porter.errors import OutputError, ParityError
from porter.loading.labels import Labels
from porter.loading.load_model import load_model
from porter.loading.ported_file import Ported, read_metadata, refuse_several_outputs
from porter.networks.any_target import answer_of
from porter.parity.image_row import probabilities
from porter.recordings.images import decode_bytes, prepare
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


class Seen(NamedTuple):
    """What the network sees in one image.

    Attributes:
        error: Why the image cannot be used, or None.
        best: The likeliest classes, likeliest first; none of an image that cannot be used.
    """

    error: ParityError | None
    best: tuple[Prediction, ...]


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
        refuse_several_outputs(self.ported, path)
        self._model = load_model(path, trust_table=trust_table, device=device)
        self.classes = _classes(self._model, self._spec.size, device)
        if self.classes == 0:
            raise OutputError("classify/no-classes", "the network has no classifier", file=path)
        self.activation = _activation(self.ported, self.classes, path)

    def see(self, items: Sequence[Item], labels: Labels, count: int = 5) -> list[Seen]:
        """Return the `count` likeliest classes of each image; the network runs on all of them at once.

        Raises:
            OutputError: a weight of the network is NaN or infinite, or overflows.
        """
        prepared: list[Array] = []
        errors = [self._prepared(item, prepared) for item in items]
        logits = self.logits(np.stack(prepared)) if prepared else np.empty((0, self.classes))
        if not np.isfinite(logits).all():
            raise OutputError("classify/not-finite", "the network's answer is not finite", file=self._path)
        answers = iter(probabilities(logits, self.activation))
        return [Seen(error, () if error else _best(next(answers), labels, count)) for error in errors]

    def _prepared(self, item: Item, prepared: list[Array]) -> ParityError | None:
        """Add an image to those that are prepared, or return why it cannot be."""
        if item.fault:
            return ParityError("picture/unreadable", item.fault, file=Path(item.key))
        try:
            image = decode_bytes(item.encoded, item.key)
            prepared.append(prepare(image, self._spec, self._spec.size))
        except ParityError as error:
            return error
        return None

    def logits(self, images: Array) -> Array:
        """Return (N, classes) float32 for prepared images, (N, H, W, 3) float32."""
        batch = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(self._device)
        with torch.inference_mode():
            logits: Array = answer_of(self._model(batch)).float().cpu().numpy()
        return logits


def _best(values: Array, labels: Labels, count: int) -> tuple[Prediction, ...]:
    best = np.argsort(-values, kind="stable")[:count]
    return tuple(Prediction(int(i), labels.name(int(i)), float(values[i])) for i in best)


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
