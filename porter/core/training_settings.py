"""What the settings of a training say of the network that was trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class TrainingSettings(NamedTuple):
    """Settings that lie beside a checkpoint. None and "" mean that they do not tell.

    Attributes:
        file: Where they stand.
        backbone: The kind of backbone, as the Model Garden calls it: ``"mobilenet"``.
        arguments: What the backbone was built with, by name.
        epsilon: That of the batch normalisations.
        activation: Its name.
        input_size: Height and width of the images.
        classes: How many the classifier has.
    """

    file: Path
    backbone: str
    arguments: Mapping[str, object]
    epsilon: float | None
    activation: str
    input_size: tuple[int, int] | None
    classes: int | None
