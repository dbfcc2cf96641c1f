"""Keras files as models that run, loaded by the generation of Keras that wrote them, without their code."""

from __future__ import annotations

import importlib
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py

from porter.errors import ParityError

_OWN_MODULES = ("keras", "tf_keras", "tensorflow.keras", "builtins")
_CODE = ("Lambda", "__lambda__", "TensorFlowOpLayer", "function")
# Layers that tf_keras makes of a call to a function of TensorFlow: those that do nothing but calculate.
_CALLS = ("TFOpLambda", "SlicingOpLambda")
_CALCULATING = (
    *("math.", "nn.", "linalg.", "__operators__.", "compat.v1.nn.", "cast", "reshape", "identity", "concat"),
    *("stack", "split", "transpose", "pad", "squeeze", "expand_dims", "tile", "clip_by_value", "convert_to"),
)


def load(file: Path) -> tuple[Any, str, tuple[str, ...]]:
    """Load the model that a Keras file holds, not compiled.

    Returns:
        The model; the Keras that wrote the file, in words; names of the packages that ran it.

    Raises:
        ParityError: the file's config asks for code, or for objects that Keras does not have itself
            (``runner/code-in-file``).
        Exception: whatever Keras raises where it cannot load the file.
    """
    config, stored = _config(file)
    for entry in _entries(config):
        _refuse_code(entry, file)
    package = "keras" if stored.partition(".")[0] == "3" else "tf_keras"
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    keras = importlib.import_module(package)
    keras.backend.set_floatx("float32")
    model = keras.models.load_model(str(file), compile=False, safe_mode=True)
    return model, f"Keras {stored}", ("tensorflow", package.replace("_", "-"), "numpy")


def _config(file: Path) -> tuple[Any, str]:
    """Return the config of the model, parsed, and the version of Keras that wrote it."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            metadata = json.loads(archive.read("metadata.json"))
            return json.loads(archive.read("config.json")), str(metadata["keras_version"])
    with h5py.File(file) as opened:
        version = opened.attrs.get("keras_version", "1")
        return json.loads(opened.attrs["model_config"]), _text(version)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _entries(config: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every object of a JSON document."""
    if isinstance(config, dict):
        yield config
        for value in config.values():
            yield from _entries(value)
    elif isinstance(config, list):
        for value in config:
            yield from _entries(value)


def _refuse_code(entry: Mapping[str, Any], file: Path) -> None:
    kind, module = entry.get("class_name"), entry.get("module")
    if not isinstance(kind, str):
        return
    inner = entry.get("config")
    function = inner.get("function") if isinstance(inner, dict) else None
    foreign = isinstance(module, str) and module.partition(".")[0] not in _OWN_MODULES
    calls = kind in _CALLS and not str(function or "__operators__.").startswith(_CALCULATING)
    if kind in _CODE or foreign or calls:
        raise ParityError(
            "runner/code-in-file",
            "the file's config asks for code that porter does not run",
            file=file,
            found=f"{module}.{kind}" if foreign else kind,
        )
