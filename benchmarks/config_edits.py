"""Ways in which the config of a Keras file can describe another network than its weights suggest.

An edit changes the JSON of a written file, so that no TensorFlow is needed: a `.h5` has it as an attribute, a
`.keras` as a member of the archive. The weights stay as they are.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py

Layer = dict[str, Any]
Layers = list[Layer]


def edited(source: Path, target: Path, edit: Callable[[Layers], bool]) -> bool:
    """Write `source` with a changed config to `target`; return False where it has nothing to change."""
    if source.suffix == ".h5":
        shutil.copy(source, target)
        with h5py.File(target, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            changed = _applied(edit, config["config"]["layers"])
            file.attrs["model_config"] = json.dumps(config)
        return changed
    with zipfile.ZipFile(source) as given, zipfile.ZipFile(target, "w") as made:
        changed = False
        for name in given.namelist():
            data = given.read(name)
            if name == "config.json":
                config = json.loads(data)
                changed = _applied(edit, config["config"]["layers"])
                data = json.dumps(config).encode()
            made.writestr(name, data)
    return changed


def _applied(edit: Callable[[Layers], bool], layers: Layers) -> bool:
    """Edit the layers of a model that stands as one layer inside, or else those around it."""
    inner = [layer["config"]["layers"] for layer in layers if "layers" in layer["config"]]
    return any(edit(each) for each in inner) or edit(layers)


def _all(layers: Layers, *classes: str) -> Iterator[Layer]:
    return (layer for layer in layers if layer["class_name"] in classes)


def _set(name: str, value: Any, *classes: str, where: Callable[[Layer], bool] | None = None) -> Any:
    """Return an edit that sets a value in the first layer of these classes for which `where` holds."""

    def edit(layers: Layers) -> bool:
        found = next((layer for layer in _all(layers, *classes) if where is None or where(layer)), None)
        if found is not None:
            found["config"][name] = value
        return found is not None

    return edit


def _walk(value: Any, old: str, new: list[Any]) -> None:
    """Let whatever refers to the output of `old` refer to `new`."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in items:
        is_reference = isinstance(item, list) and len(item) >= 3 and item[0] == old and item[1:3] == [0, 0]
        if is_reference:
            item[:3] = new
        else:
            _walk(item, old, new)
    if isinstance(value, list) and len(value) >= 3 and value[0] == old and value[1:3] == [0, 0]:
        value[:3] = new


def _first_source(value: Any, names: set[str]) -> list[Any] | None:
    """Return the first reference to a layer in what a layer is called with."""
    if isinstance(value, list) and len(value) >= 3 and value[0] in names and value[1:3] == [0, 0]:
        return value[:3]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((found for item in items if (found := _first_source(item, names))), None)


def _bypass(*classes: str, where: Callable[[Layer], bool] | None = None) -> Any:
    """Return an edit that takes the first such layer out: what follows takes its input."""

    def edit(layers: Layers) -> bool:
        found = next((layer for layer in _all(layers, *classes) if where is None or where(layer)), None)
        if found is None:
            return False
        source = _first_source(found["inbound_nodes"], {layer["config"]["name"] for layer in layers})
        layers.remove(found)
        for layer in layers:
            _walk(layer["inbound_nodes"], found["config"]["name"], source)
        return True

    return edit


def _insert(class_name: str, config: Layer, *behind: str, number: int = 0) -> Any:
    """Return an edit that puts a layer behind the `number`-th of these classes."""

    def edit(layers: Layers) -> bool:
        places = list(_all(layers, *behind))
        if len(places) <= number or not places[number]["inbound_nodes"]:
            return False
        place = places[number]
        old = place["config"]["name"]
        layer = json.loads(json.dumps(place)) | {"class_name": class_name, "name": "inserted"}
        layer["config"] = {"name": "inserted", "trainable": True, "dtype": "float32", **config}
        for other in layers:
            _walk(other["inbound_nodes"], old, ["inserted", 0, 0])
        reference = _first_source(layer["inbound_nodes"], {each["config"]["name"] for each in layers})
        single = layer["inbound_nodes"][0]
        if isinstance(single, dict):
            tensor = {"shape": [None], "dtype": "float32", "keras_history": [old, 0, 0]}
            single["args"] = [{"class_name": "__keras_tensor__", "config": tensor}]
            single["kwargs"] = {}
        else:
            layer["inbound_nodes"] = [[[old, 0, 0, {}]]]
        layers.insert(layers.index(place) + 1, layer)
        return reference is not None

    return edit


def _every(name: str, value: Any, *classes: str) -> Any:
    def edit(layers: Layers) -> bool:
        for layer in _all(layers, *classes):
            layer["config"][name] = value
        return any(_all(layers, *classes))

    return edit


def _swapped(layers: Layers) -> bool:
    """Put an activation behind an addition in front of it."""
    names = {layer["config"]["name"] for layer in layers}
    for relu in _all(layers, "ReLU", "Activation"):
        source = _first_source(relu["inbound_nodes"], names)
        add = next(
            (layer for layer in _all(layers, "Add") if source and layer["config"]["name"] == source[0]), None
        )
        if add is not None:
            inner = _first_source(add["inbound_nodes"], names)
            name = relu["config"]["name"]
            _walk(relu["inbound_nodes"], add["config"]["name"], inner)
            for layer in layers:
                if layer is not relu:
                    _walk(layer["inbound_nodes"], name, [add["config"]["name"], 0, 0])
            _walk(add["inbound_nodes"], inner[0], [name, 0, 0])
            layers.remove(relu)
            layers.insert(layers.index(add), relu)
            return True
    return _insert("ReLU", {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}, "Add")(layers)


def _global_maximum(layers: Layers) -> bool:
    *_, last = [*_all(layers, "GlobalAveragePooling2D")] or [None]
    if last is not None:
        last["class_name"] = "GlobalMaxPooling2D"
    return last is not None


def _another_kind(layers: Layers) -> bool:
    found = next(_all(layers, "ReLU"), None)
    if found is not None:
        kept = {
            name: value for name, value in found["config"].items() if name in ("name", "trainable", "dtype")
        }
        found["class_name"], found["config"] = "Activation", {**kept, "activation": "tanh"}
        return True
    found = next(_all(layers, "Activation"), None)
    if found is None:
        return False
    found["config"]["activation"] = "tanh" if found["config"]["activation"] == "relu" else "relu"
    return True


def _cap(layers: Layers) -> bool:
    found = next(_all(layers, "ReLU"), None)
    if found is not None:
        found["config"]["max_value"] = None if found["config"]["max_value"] else 6.0
        return True
    return bool(_set("activation", "relu6", "Activation")(layers))


def _classifier(layers: Layers) -> bool:
    """Change the last activation, unless these are the layers of a backbone without a classifier."""
    is_one = layers[-1]["config"].get("activation") == "softmax"
    if is_one:
        layers[-1]["config"]["activation"] = "sigmoid"
    return is_one


def _is_strided(layer: Layer) -> bool:
    return list(layer["config"]["strides"]) == [2, 2]


def _is_plain(layer: Layer) -> bool:
    return list(layer["config"]["strides"]) == [1, 1] and layer["config"]["kernel_size"][0] > 1


def _is_given(layer: Layer) -> bool:
    """Whether a Normalization has its statistics in the config, and not as variables."""
    return layer["config"].get("mean") is not None


_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2D")
_BN = {"axis": [3], "momentum": 0.99, "epsilon": 1e-3, "center": True, "scale": True}
# What the port does with each: "adopted" or "refused". An edit may find nothing to change in a family.
EDITS: dict[str, tuple[Callable[[Layers], bool], str]] = {
    "epsilon of all": (_every("epsilon", 1e-5, "BatchNormalization"), "adopted"),
    "epsilon of one": (_set("epsilon", 1e-2, "BatchNormalization"), "adopted"),
    "stride of the stem": (_set("strides", [1, 1], "Conv2D", where=_is_strided), "refused"),
    "stride of a depthwise": (_set("strides", [1, 1], "DepthwiseConv2D", where=_is_strided), "refused"),
    "padding mode": (_set("padding", "valid", *_CONVOLUTIONS, where=_is_plain), "refused"),
    "padding amounts": (_set("padding", [[2, 2], [2, 2]], "ZeroPadding2D"), "refused"),
    "dilation": (_set("dilation_rate", [2, 2], *_CONVOLUTIONS, where=_is_plain), "refused"),
    "groups": (_set("groups", 2, "Conv2D"), "refused"),
    "kernel of a pool": (_set("pool_size", [2, 2], "MaxPooling2D"), "refused"),
    "kind of the global pool": (_global_maximum, "adopted"),
    "kind of an activation": (_another_kind, "refused"),
    "cap": (_cap, "refused"),
    "slope": (_set("negative_slope", 0.1, "ReLU"), "refused"),
    "threshold": (_set("threshold", 0.5, "ReLU"), "refused"),
    "order of activation and add": (_swapped, "refused"),
    "no activation": (_bypass("ReLU", "Activation"), "refused"),
    "no addition": (_bypass("Add"), "refused"),
    "activation of the classifier": (_classifier, "adopted"),
    "no Rescaling": (_bypass("Rescaling"), "adopted"),
    "scale of the Rescaling": (_set("scale", 1 / 100, "Rescaling"), "adopted"),
    "statistics of the Normalization": (
        _set("mean", [0.1, 0.2, 0.3], "Normalization", where=_is_given),
        "adopted",
    ),
    "an extra norm": (_insert("BatchNormalization", _BN, *_CONVOLUTIONS), "refused"),
    "an extra pool": (
        _insert("AveragePooling2D", {"pool_size": [2, 2], "strides": [1, 1], "padding": "same"}, "Add"),
        "refused",
    ),
    "axis of a norm": (_set("axis", [1], "BatchNormalization"), "refused"),
    "channels first": (_set("data_format", "channels_first", "DepthwiseConv2D"), "refused"),
}
