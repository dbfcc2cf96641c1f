"""Files and directories that belong to weights and hold none: what each is, and what to name in its place."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from porter.errors import CheckpointError, printable
from porter.formats import magic

_MOST_ENTRIES = 1000
_SHOWN = 3
_HEAD = 4096
_WEIGHTS = (".keras", ".h5", ".hdf5", ".pb", ".tflite", ".weights.json", ".index", ".ckpt")
_DESCRIPTIONS = ("saved_model.pb", "saved_model.pbtxt")
_BESIDE_SAVED_MODEL = ("keras_metadata.pb", "fingerprint.pb")
_CLASS = re.compile(rb'^\s*\{[^{]{0,400}"class_name"\s*:')
_ORBAX = ("_CHECKPOINT_METADATA", "manifest.ocdbt", "_METADATA")


def refuse_near_miss(file: Path) -> None:
    """Refuse a file that is known to lie beside weights.

    Raises:
        CheckpointError: it is one of those.
    """
    start = magic.head(file, _HEAD)
    if file.name in _BESIDE_SAVED_MODEL:
        raise CheckpointError(
            "checkpoint/saved-model-metadata",
            "this lies beside a SavedModel and holds no weights",
            file=file,
            hint="Name the folder that it is in; it needs saved_model.pb and variables/.",
        )
    model = file.with_name("model.json")
    if model != file and model.is_file() and _is_named_in(model, file.name, start):
        raise CheckpointError(
            "checkpoint/tfjs-part",
            "this is a part of a TensorFlow.js model",
            file=file,
            hint=f"Name {model.name} beside it, or the folder.",
        )
    if re.match(rb"\s*node\s*\{", start):
        raise CheckpointError(
            "checkpoint/text-graph",
            "this is a GraphDef as text",
            file=file,
            hint="Name the checkpoint that belongs to it; a frozen text graph becomes a .pb with "
            "tf.io.write_graph(graph, folder, name, as_text=False).",
        )
    if _CLASS.match(start):
        raise CheckpointError(
            "checkpoint/keras-architecture",
            "this is the architecture of a Keras model (to_json) without its weights",
            file=file,
            hint="Name the .weights.h5, .h5 or .keras that belongs to it.",
        )


def _is_named_in(model: Path, name: str, start: bytes) -> bool:
    from porter.checkpoints.tfjs.model_json import model_in  # noqa: PLC0415  (few need it)

    if model_in(model.parent) is None:
        return False
    return f'"{name}"'.encode() in model.read_bytes() or b'"tfjsVersion"' in start


def inside(directory: Path) -> str | None:
    """Return a hint that names what lies in a directory and can be opened; None if there is nothing."""
    names = sorted(_names(directory))
    if any(name in _ORBAX for name in names):
        return (
            "It is an Orbax checkpoint (JAX), which is not read: load it where it was written, and save the "
            "weights with model.save_weights('x.weights.h5')."
        )
    found = [name for name in names if name.endswith(_WEIGHTS) and name not in _BESIDE_SAVED_MODEL]
    found += [name for name in names if any((directory / name / each).is_file() for each in _DESCRIPTIONS)]
    if not found:
        return None
    more = f" or {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"Name one that is in it: {', '.join(map(printable, found[:_SHOWN]))}{more}."


def _names(directory: Path) -> Iterator[str]:
    with os.scandir(directory) as entries:
        for number, entry in enumerate(entries):
            if number >= _MOST_ENTRIES:
                return
            yield entry.name
