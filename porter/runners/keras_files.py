"""Keras files as models that run, loaded by the generation of Keras that wrote them, without their code."""

from __future__ import annotations

import importlib
import json
import os
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py

from porter.checkpoints.keras.network_layers import FIXED_DROPOUT, is_fixed_dropout
from porter.errors import ParityError

_OWN_MODULES = ("keras", "tf_keras", "tensorflow.keras", "builtins")
# tf_keras's EfficientNetV2 names one of TensorFlow's own.
_INITIALIZERS = {
    "Constant",
    "Ones",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
}
_INITIALIZING = "tensorflow.python.ops.init_ops_v2"
_PASSED_OVER = "porter>Lambda"
_CODE = ("Lambda", "__lambda__", "TensorFlowOpLayer", "function")
# Layers that tf_keras makes of a call to a function of TensorFlow: those that do nothing but calculate.
_CALLS = ("TFOpLambda", "SlicingOpLambda")
_CALCULATING = (
    *("math.", "nn.", "linalg.", "__operators__.", "compat.v1.nn.", "cast", "reshape", "identity", "concat"),
    *("stack", "split", "transpose", "pad", "squeeze", "expand_dims", "tile", "clip_by_value", "convert_to"),
)


def load(file: Path, in_front: Collection[str] = ()) -> tuple[Any, str, tuple[str, ...]]:
    """Load the model that a Keras file holds, not compiled.

    Args:
        file: The file.
        in_front: Names of layers that stand in front of the network. If one of them is a Lambda, its input is
            passed on in its place: the code of a file is never run, and the network is behind it.

    Returns:
        The model; the Keras that wrote the file, in words; names of the packages that ran it.

    Raises:
        ParityError: the file's config asks for code, or for objects that Keras does not have itself
            (``runner/code-in-file``).
        Exception: whatever Keras raises where it cannot load the file.
    """
    config, stored = _config(file)
    passed_over = [entry for entry in _entries(config) if _is_lambda(entry, in_front)]
    inside = [inner for entry in passed_over for inner in _entries(entry)]
    for entry in _entries(config):
        if not any(entry is inner for inner in inside):
            _refuse_code(entry, file)
    package = "keras" if stored.partition(".")[0] == "3" else "tf_keras"
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    keras = importlib.import_module(package)
    keras.backend.set_floatx("float32")
    model = _loaded(keras, file, config, passed_over)
    return model, _words(stored, passed_over), ("tensorflow", package.replace("_", "-"), "numpy")


def from_config(document: str, file: Path) -> Any:
    """Build the model that the JSON of a tf_keras model describes, with random weights.

    Raises:
        ParityError: it asks for code, as for `load`.
        Exception: whatever Keras raises where it cannot build it.
    """
    config = json.loads(document)
    for entry in _entries(config):
        _refuse_code(entry, file)
    tf_keras = importlib.import_module("tf_keras")
    return tf_keras.models.model_from_json(json.dumps({key: config[key] for key in ("class_name", "config")}))


def _words(stored: str, passed_over: Iterable[Mapping[str, Any]]) -> str:
    if not passed_over:
        return f"Keras {stored}"
    names = ", ".join(str(entry["config"]["name"]) for entry in passed_over)
    return f"Keras {stored}, without the code of {names} in front of it"


def _is_lambda(entry: Mapping[str, Any], in_front: Collection[str]) -> bool:
    config = entry.get("config")
    is_layer = entry.get("class_name") == "Lambda"
    return is_layer and isinstance(config, dict) and config.get("name") in in_front


def _loaded(keras: Any, file: Path, config: dict[str, Any], passed_over: list[dict[str, Any]]) -> Any:
    own = _own_classes(keras)
    if not passed_over:
        return keras.models.load_model(str(file), custom_objects=own, compile=False, safe_mode=True)
    known = own | dict.fromkeys(("Lambda", _PASSED_OVER), _passing_layer(keras))
    if not zipfile.is_zipfile(file):
        return keras.models.load_model(str(file), custom_objects=known, compile=False, safe_mode=True)
    for entry in passed_over:  # an archive's own layers cannot be replaced by name
        entry |= {"module": None, "registered_name": _PASSED_OVER}
    config.pop("compile_config", None)
    model = keras.saving.deserialize_keras_object(config, custom_objects=known)
    model.load_weights(str(file))
    return model


def _own_classes(keras: Any) -> dict[str, type[Any]]:
    """Return the layers that Keras does not find by their names, and what may stand for them."""
    known = {FIXED_DROPOUT: keras.layers.Dropout}
    if keras.__name__ != "tf_keras":
        return known
    module = importlib.import_module("tf_keras.src.applications.convnext")
    return known | {name: getattr(module, name) for name in ("LayerScale", "StochasticDepth")}


def _passing_layer(keras: Any) -> type[Any]:
    """Return a layer for the place of a Lambda, whose function is not even read."""

    class Lambda(keras.layers.Layer):  # type: ignore[misc]
        # In an archive a layer's weights have the name of its class.
        @classmethod
        def from_config(cls, config: Mapping[str, Any], **_: Any) -> Any:
            return cls(name=config["name"])

        def call(self, inputs: Any, mask: Any = None) -> Any:  # noqa: ARG002  (Keras 3 gives every Lambda one)
            return inputs

    return Lambda


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


def _entries(config: Any) -> Iterator[dict[str, Any]]:
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
    foreign = foreign and not (module == _INITIALIZING and kind in _INITIALIZERS)
    foreign = foreign and not (isinstance(inner, dict) and is_fixed_dropout(kind, inner))
    calls = kind in _CALLS and not str(function or "__operators__.").startswith(_CALCULATING)
    if kind in _CODE or foreign or calls:
        raise ParityError(
            "runner/code-in-file",
            "the file's config asks for code that porter does not run",
            file=file,
            found=f"{module}.{kind}" if foreign else kind,
        )
