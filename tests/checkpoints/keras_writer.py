"""Small Keras files made with h5py and zipfile, for the tests that damage them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import h5py
import numpy as np

KERNEL = np.arange(36, dtype=np.float32).reshape(3, 3, 1, 4)
BIAS = np.arange(4, dtype=np.float32)
CONFIG: dict[str, Any] = {
    "class_name": "Functional",
    "config": {
        "name": "model",
        "layers": [
            {"class_name": "InputLayer", "config": {"name": "input_1"}},
            {"class_name": "Conv2D", "config": {"name": "conv2d"}},
            {"class_name": "Lambda", "config": {"name": "lambda", "function": ["4wEAAAA=", None, None]}},
            {"class_name": "Dense", "config": {"name": "dense"}},
        ],
    },
}

Build = Callable[[h5py.File], None]


def hdf5(build: Build, **options: Any) -> bytes:
    """Return the bytes of an HDF5 file that `build` fills."""
    stream = io.BytesIO()
    with h5py.File(stream, "w", libver=options.pop("libver", "earliest"), **options) as file:
        build(file)
    return stream.getvalue()


def layer(group: h5py.Group, name: str, weights: Mapping[str, np.ndarray], **options: Any) -> h5py.Group:
    """Write one layer as Keras's first format does; `options` go to create_dataset."""
    inner = group.create_group(name)
    names = [f"{name}/{weight}:0" for weight in weights]
    inner.attrs["weight_names"] = (
        np.array([text.encode() for text in names], "S") if names else np.array([], "S1")
    )
    for text, value in zip(names, weights.values(), strict=True):
        inner.create_dataset(text, data=value, **options)
    return inner


def legacy(file: h5py.File, *, config: object = None, backend: str = "tensorflow", **options: Any) -> None:
    """Fill `file` as Keras's first format does: input_1, conv2d, lambda, dense."""
    group = file if config is None else file.create_group("model_weights")
    group.attrs["layer_names"] = np.array([b"input_1", b"conv2d", b"lambda", b"dense"])
    file.attrs["backend"] = backend.encode()
    file.attrs["keras_version"] = b"2.4.0"
    if config is not None:
        file.attrs["model_config"] = config if isinstance(config, str) else json.dumps(config)
    layer(group, "input_1", {})
    layer(group, "conv2d", {"kernel": KERNEL, "bias": BIAS}, **options)
    layer(group, "lambda", {})
    layer(group, "dense", {"kernel": np.eye(4, 2, dtype=np.float32), "bias": BIAS[:2]}, **options)


def state(file: h5py.File) -> None:
    """Fill `file` as Keras's second format does."""
    for name, values in (("conv2d", (KERNEL, BIAS)), ("dense", (np.eye(4, 2, dtype=np.float32), BIAS[:2]))):
        group = file.create_group(f"layers/{name}/vars")
        for number, value in enumerate(values):
            group.create_dataset(str(number), data=value)


def archive(members: Mapping[str, bytes | str] | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return a ``.keras`` archive; `members` replace or (None as content) remove what a healthy one has."""
    content: dict[str, bytes | str | None] = {
        "metadata.json": '{"keras_version": "3.1.0", "date_saved": "2024-01-01"}',
        "config.json": json.dumps(CONFIG),
        "model.weights.h5": hdf5(state),
    }
    content |= members or {}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as file:
        for name, data in content.items():
            if data is not None:
                file.writestr(name, data)
    return stream.getvalue()
