"""TensorFlow networks by the name that a table gives them; a source's module is imported on use."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from porter.core.checkpoint import Array, Checkpoint
from porter.errors import MissingDependencyError, TableError
from porter.tables.table_records import InputSpec

Keras = Any

# A module of this package per source, and how to get what it imports.
SOURCES = {
    "edgetpu": "pip install 'port-weights[tensorflow]'",
    "keras": "pip install 'port-weights[tensorflow]'",
    "mlperf_tiny": "pip install 'port-weights[tensorflow]'",
    "mnasnet": "pip install 'port-weights[tensorflow]'",
    "tpu": "pip install 'port-weights[tensorflow]'",
    "model_garden": "pip install 'port-weights[tensorflow]'",
    "simclr": "pip install 'port-weights[tensorflow]'",
    "transformers": "pip install 'port-weights[tensorflow]' 'transformers<5'",
    "yamnet": "pip install 'port-weights[tensorflow]'",
}


class Preparation(NamedTuple):
    """What a source's own code needs to know to prepare images.

    Attributes:
        size: Height and width of the result.
        arguments: The table's arguments of the network.
        network: The network, with the weights that TensorFlow restored, if it restored any.
        images: Crop, interpolation, mean and std as the ported file states them.
        checkpoint: The source, which may say something of its images.
        restored: Whether `network` has the source's weights.
    """

    size: int
    arguments: Mapping[str, Any]
    network: Keras
    images: InputSpec
    checkpoint: Checkpoint
    restored: bool


@dataclass(frozen=True, slots=True)
class BuilderSet:
    """What a module of this package offers, as its ``SOURCE``.

    Attributes:
        builders: Networks by name. A builder takes the table's source arguments as a mapping, and by keyword
            ``bn_eps`` and every free length of the table (``classes``: 0 means without the classifier, and
            ``channels``). It returns the Keras model whose object paths the table names, in the precision
            of `tf_keras.backend.floatx`.
        fixed_size: True if a network is built for one size: its builder takes ``size`` (H, W) too.
        packages: Distributions whose versions a recording states.
        prepare: Prepares one decoded image, (H, W, 3) uint8, with the source's own code, to (size, size, 3)
            float32. None if the source has no such code.
        notes: Departures of float64 networks from the source's own, a sentence by the name of the builder.
    """

    builders: Mapping[str, Callable[..., Keras]]
    packages: tuple[str, ...]
    prepare: Callable[[Any, Preparation], Array] | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    fixed_size: bool = False


def source_of(builder: str) -> BuilderSet:
    """Import the module that `builder`, e.g. ``"model_garden.mobilenet"``, belongs to.

    Raises:
        TableError: there is no such builder.
        MissingDependencyError: a package that the source needs is not installed, or in no version that suits.
    """
    module, _, name = builder.partition(".")
    if module not in SOURCES:
        raise _unknown(builder, [f"{known}.*" for known in SOURCES])
    try:
        source: BuilderSet = importlib.import_module(f"{__name__}.{module}").SOURCE
    except ImportError as error:
        # What another version no longer has is an ImportError too: transformers 5 has no TensorFlow networks.
        raise MissingDependencyError(
            "runner/no-builder-package",
            f"{error.name} is not installed, or not in a version that suits: {error.msg}",
            hint=SOURCES[module],
        ) from None
    if name not in source.builders:
        raise _unknown(builder, [f"{module}.{known}" for known in source.builders])
    return source


def build(builder: str, arguments: Mapping[str, object], **lengths: object) -> Keras:
    """Build a network.

    Args:
        builder: BuilderSet and name, e.g. ``"model_garden.mobilenet"``.
        arguments: The table's arguments of this variant.
        **lengths: ``bn_eps``, and the table's free lengths.

    Raises:
        TableError: there is no such builder.
        MissingDependencyError: a package that the source needs is not installed.
    """
    return source_of(builder).builders[builder.partition(".")[2]](arguments, **lengths)


def _unknown(builder: str, known: list[str]) -> TableError:
    return TableError("table/builder", f"unknown source builder {builder!r}", expected=f"one of {known}")
