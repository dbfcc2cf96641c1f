"""What a Keras model's config says of its images: their size, and the layers that prepare them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from porter.checkpoints.keras.config import LayerConfig
from porter.checkpoints.keras.layers import Layer
from porter.checkpoints.keras.network_calls import UNREADABLE, LayerOutput, parse_call
from porter.checkpoints.keras.network_channels import is_reversal, is_stack_reversed, picked_channel
from porter.checkpoints.keras.network_functions import function_name, function_steps, plain_numbers
from porter.checkpoints.keras.network_layers import RANDOM
from porter.core.stored_network import is_that_map
from porter.core.stored_preprocessing import (
    ChannelReversal,
    Normalization,
    PreparingStep,
    Rescaling,
    StoredInput,
)

_SHAPES = ("batch_input_shape", "batch_shape")  # Keras 1 and 2; Keras 3
_MAP = 3  # axes of a map: height, width, channels
_CHANNELS_FIRST = "channels_first"
# These change nothing when the network is used, or no values.
_TRANSPARENT = ("InputLayer", "Identity", "Dropout", "GaussianNoise", "GaussianDropout", "ZeroPadding2D")
_FLOATS = ("float32", "float64", "float16", "bfloat16")
_AUGMENTATIONS = frozenset(
    f"Random{name}"
    for name in (
        *("Flip", "Rotation", "Zoom", "Contrast", "Translation", "Brightness", "Height", "Width", "Hue"),
        *("ColorDegeneration", "ColorJitter", "Erasing", "ElasticTransform", "GaussianBlur", "Grayscale"),
        *("Invert", "Perspective", "Posterization", "Saturation", "Sharpness", "Shear"),
    )
)


def stored_input(config: LayerConfig, model: Layer) -> StoredInput:
    """Return what stands in front of the model's first layer with weights, a Normalization left aside.

    Args:
        config: The model's config.
        model: The same model with its variables.
    """
    found = StoredInput()
    picked: dict[str, tuple[LayerOutput, int] | None] = {}
    weighted = {layer.name: layer for layer in model.all if layer.variables}
    axes = next(filter(None, map(_axes, _leaves(config))), [])
    for layer in _leaves(config):
        found = _with_size(found, layer)
        if layer.is_foreign and layer.name not in weighted:
            found = _unread(found, layer)
        elif layer.class_name == "Rescaling":
            found = _with_step(found, layer, _rescaling(layer))
        elif layer.class_name == "Normalization":
            found = _with_step(found, layer, _normalization(layer, weighted.get(layer.name)))
        elif layer.name in weighted:
            break
        elif sides := _sides(layer, axes):
            found = _sized(found, sides, f"the source's {layer.class_name} layer")
        elif layer.class_name in RANDOM and _draws(layer):
            found = _unread(found, layer)
        elif layer.class_name == "Cast" and layer.values.get("dtype") in _FLOATS:
            continue
        elif layer.is_foreign or layer.class_name not in (*_TRANSPARENT, *_AUGMENTATIONS):
            found = _with_function(found, layer, picked) if function_name(layer) else _unread(found, layer)
    return found


def _leaves(config: LayerConfig) -> Iterator[LayerConfig]:
    """Yield the layers of a model in order, and those of a nested model in its place."""
    for layer in config.layers or ():
        if layer.layers is None:
            yield layer
        else:
            yield from _leaves(layer)


def _with_size(found: StoredInput, layer: LayerConfig) -> StoredInput:
    """Take the size from an input shape (N, H, W, C); a nested network's own comes last and counts."""
    axes = _axes(layer)
    if len(axes) != _MAP or layer.values.get("data_format") == _CHANNELS_FIRST:
        return found
    return _sized(found, (axes[0], axes[1]), "the input shape in the source's config")


def _axes(layer: LayerConfig) -> list[Any]:
    """Return the shape that a layer states of what it takes, without the batch; empty if it states none."""
    shape = next((shape for key in _SHAPES if (shape := _listed(layer.values.get(key)))), None)
    return shape[1:] if isinstance(shape, list) else []


def _sides(layer: LayerConfig, axes: list[Any]) -> tuple[Any, Any] | None:
    """Return the size that a Resizing makes, or that of the map which a Reshape makes of images of `axes`."""
    if layer.class_name == "Resizing":
        return layer.values.get("height"), layer.values.get("width")
    shape = _listed(layer.values.get("target_shape")) if layer.class_name == "Reshape" else None
    if not isinstance(shape, list) or len(shape) != _MAP or not is_that_map(axes, shape):
        return None
    return shape[0], shape[1]


def _sized(found: StoredInput, sides: tuple[Any, Any], source: str) -> StoredInput:
    height, width = sides
    if all(type(side) is int and 0 < side < 1 << 16 for side in (height, width)):
        return found._replace(size=(height, width), size_source=source)
    return found


def _with_step(found: StoredInput, layer: LayerConfig, step: PreparingStep | None) -> StoredInput:
    return _unread(found, layer) if step is None else found._replace(steps=(*found.steps, step))


def _with_function(
    found: StoredInput, layer: LayerConfig, picked: dict[str, tuple[LayerOutput, int] | None]
) -> StoredInput:
    """Take what `preprocess_input` leaves in a model: arithmetic with constants, colours turned round.

    Args:
        found: What was found before this layer.
        layer: One that stands for a function.
        picked: Single channels that layers before it take; this one's is added.
    """
    try:
        (call,) = map(parse_call, layer.calls)
        picked[layer.name] = picked_channel(call)
        if is_reversal(call):
            return _with_step(found, layer, ChannelReversal(layer.name))
        if function_name(layer) == "stack" and is_stack_reversed(layer, call, picked):
            parts = tuple(f"{source.layer} (" for source in call.sources)
            unread = tuple(line for line in found.unread if not line.startswith(parts))
            return _with_step(found._replace(unread=unread), layer, ChannelReversal(layer.name))
        computed = function_steps(layer, function_name(layer), call)
    except UNREADABLE:
        return _unread(found, layer)
    for step in computed:
        scale, offset = (_numbers(step.attributes.get(name)) for name in ("scale", "offset"))
        if step.kind != "scale":
            return _unread(found, layer)
        found = _with_step(found, layer, Rescaling(layer.name, scale, offset))
    return found


def _draws(layer: LayerConfig) -> bool:
    """Whether a layer is called as in training, so that it draws at random whatever the model is used for."""
    try:
        return any(call.named.get("training") is True for call in map(parse_call, layer.calls))
    except UNREADABLE:
        return False


def _unread(found: StoredInput, layer: LayerConfig) -> StoredInput:
    return found._replace(unread=(*found.unread, f"{layer.name} ({layer.class_name})"))


def _rescaling(layer: LayerConfig) -> Rescaling | None:
    scale, offset = _numbers(layer.values.get("scale", 1.0)), _numbers(layer.values.get("offset", 0.0))
    return Rescaling(layer.name, scale, offset) if scale and offset else None


def _normalization(layer: LayerConfig, stored: Layer | None) -> Normalization | None:
    if layer.values.get("invert"):
        return None
    mean, variance = (_numbers(layer.values.get(name)) for name in ("mean", "variance"))
    if mean and variance:  # given when the layer was made, so that it has no variables
        return Normalization(layer.name, mean, variance)
    variables = stored.variables if stored else ()
    keys = {edge: variable.key for variable in variables for edge in variable.edges}
    if "mean" in keys and "variance" in keys:
        every = tuple(variable.key for variable in variables)
        return Normalization(layer.name, keys["mean"], keys["variance"], every)
    return None


def _listed(value: Any) -> Any:
    """Return the list that an object of Keras's JSON stands for; anything else as it is."""
    if not isinstance(value, Mapping):
        return value
    if "items" in value:  # a tuple in a SavedModel
        return value["items"]
    inner = value.get("config")  # an array of Keras 3
    return inner.get("value") if isinstance(inner, Mapping) else None


def _numbers(value: Any) -> tuple[float, ...]:
    """Return a number or (nested) list of numbers as a flat tuple; () for anything else."""
    return tuple(plain_numbers(_listed(value)))
