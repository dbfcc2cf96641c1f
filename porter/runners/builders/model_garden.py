"""Networks of the TensorFlow Model Garden (tf-models-official), as its own classes build them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from official.vision.dataloaders.classification_input import Parser
from official.vision.modeling.backbones import efficientnet, mobilenet, resnet, vit
from official.vision.modeling.classification_model import ClassificationModel

from porter.core.checkpoint import Array
from porter.runners.builders import BuilderSet, Keras, Preparation


def _mobilenet(arguments: Mapping[str, Any], *, classes: int, channels: int, bn_eps: float) -> Keras:
    specs = _specs(channels)
    given = dict(arguments)
    halve = given.pop("antialias", None)
    changes = {key: given.pop(key) for key in ("repeats", "append", "head") if key in given}
    if changes:
        given["model_id"] = _changed_spec(given["model_id"], given.get("filter_size_scale", 1.0), **changes)
    backbone = mobilenet.MobileNet(input_specs=specs, norm_epsilon=bn_eps, **given)
    if halve is not None:
        _antialias(backbone, _HALVES[halve])
    return _classifier(backbone, specs, classes)


def _antialias(backbone: Keras, halve: Callable[[Keras], Keras]) -> None:
    """Run strided blocks at stride 1 and halve the map behind the activation; the stem stays strided.

    The Garden has no such networks: they are those that timm trained, as TensorFlow would compute them.
    """
    for layer in backbone.layers:
        if getattr(layer, "_strides", 1) == 2 and hasattr(layer, "_in_filters"):
            fused = hasattr(layer, "_conv0")
            strided = layer._conv0 if fused else layer._middle_dw_conv  # noqa: SLF001 (no public names)
            projection = layer._conv2 if fused else layer._proj_conv  # noqa: SLF001
            strided.strides = (1, 1)
            projection.call = _behind(halve, projection.call)


def _behind(halve: Callable[[Keras], Keras], call: Callable[[Keras], Keras]) -> Callable[[Keras], Keras]:
    return lambda x: call(halve(x))


def _blur(x: Keras) -> Keras:
    """Blur (N, H, W, C) with a 3x3 binomial kernel in float precision of `x`, zeros around it, stride 2."""
    rows = np.array([1.0, 2.0, 1.0]) / 4.0
    kernel = np.tile(np.outer(rows, rows)[:, :, None, None], (1, 1, x.shape[-1], 1))
    padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    return tf.nn.depthwise_conv2d(padded, tf.constant(kernel, x.dtype), (1, 2, 2, 1), "VALID")


def _average(x: Keras) -> Keras:
    """Average (N, H, W, C) over 2x2 pixels; an odd row or column at the end is dropped."""
    return tf.nn.avg_pool2d(x, 2, 2, "VALID")


_HALVES = {"blur": _blur, "average": _average}


def _changed_spec(
    model_id: str,
    width: float,
    repeats: Sequence[int] | None = None,
    append: Sequence[Sequence[Any]] = (),
    head: int | None = None,
) -> str:
    """Let the Garden know a network by another name whose list of blocks is a changed one.

    Args:
        model_id: The network that is changed.
        width: Its filter_size_scale.
        repeats: How often each row of its list stands; all but the first of them with stride 1.
        append: Rows behind the last one.
        head: Filters of the last row, whatever the width.
    """
    spec = mobilenet.SUPPORTED_SPECS_MAP[model_id]
    schema = spec["block_spec_schema"]
    rows = []
    for row, count in zip(spec["block_specs"], repeats or [1] * len(spec["block_specs"]), strict=True):
        fields = dict(zip(schema, row, strict=True))
        copies = [fields, *[fields | {"strides": fields["strides"] and 1}] * (count - 1)]
        # The Garden counts outputs in one digit: only the last copy is one.
        rows.extend([*(copy | {"is_output": False} for copy in copies[:-1]), copies[-1]])
    rows.extend(dict(zip(schema, row, strict=True)) for row in append)
    if head is not None:
        rows[-1] = rows[-1] | {"filters": head / width}
    name = f"{model_id} {repeats} {append} {head}"
    changed = [tuple(fields.values()) for fields in rows]
    mobilenet.SUPPORTED_SPECS_MAP[name] = {**spec, "block_specs": changed}
    return name


def _efficientnet(arguments: Mapping[str, Any], *, classes: int, channels: int, bn_eps: float) -> Keras:
    specs = _specs(channels)
    backbone = efficientnet.EfficientNet(input_specs=specs, norm_epsilon=bn_eps, **arguments)
    return _classifier(backbone, specs, classes)


def _resnet(arguments: Mapping[str, Any], *, classes: int, channels: int, bn_eps: float) -> Keras:
    specs = _specs(channels)
    backbone = resnet.ResNet(input_specs=specs, norm_epsilon=bn_eps, **arguments)
    return _classifier(backbone, specs, classes)


def _vit(arguments: Mapping[str, Any], *, classes: int, channels: int, bn_eps: None) -> Keras:  # noqa: ARG001
    """Build a vision transformer; its position embeddings fix the size of the images."""
    spec = vit.VIT_SPECS[arguments["model_name"]]
    specs = _specs(channels, arguments["size"])
    with _layer_norms_of_floatx():
        backbone = vit.VisionTransformer(
            input_specs=specs,
            **spec["transformer"],
            patch_size=spec["patch_size"],
            hidden_size=spec["hidden_size"],
        )
    return _classifier(backbone, specs, classes)


@contextmanager
def _layer_norms_of_floatx() -> Iterator[None]:
    """Let layer normalisations take the network's precision.

    The Garden's transformer block makes its own with dtype=float32, so that a float64 network would carry
    their rounding, 1e-7, through every block. In float32 this changes nothing.
    """
    stock = tf_keras.layers.LayerNormalization

    def of_floatx(*args: Any, dtype: object = None, **arguments: Any) -> Keras:  # noqa: ARG001
        return stock(*args, **arguments)

    tf_keras.layers.LayerNormalization = of_floatx
    try:
        yield
    finally:
        tf_keras.layers.LayerNormalization = stock


def _specs(channels: int, size: int | None = None) -> Keras:
    return tf_keras.layers.InputSpec(shape=[None, size, size, channels])


def _classifier(backbone: Keras, specs: Keras, classes: int) -> Keras:
    return ClassificationModel(
        backbone, num_classes=classes, input_specs=specs, skip_logits_layer=classes == 0
    )


def _image(decoded: Keras, preparation: Preparation) -> Array:
    prepared: Array = Parser.inference_fn(decoded, [preparation.size] * 2).numpy()
    return prepared


SOURCE = BuilderSet(
    builders={
        "mobilenet": _mobilenet,
        "efficientnet": _efficientnet,
        "resnet": _resnet,
        "vit": _vit,
    },
    packages=("tensorflow", "tf-keras", "tf-models-official", "numpy"),
    prepare=_image,
    notes={
        "vit": "float64 runs hold layer normalisation in float64; the Garden's transformer block computes it "
        "in float32 whatever the network's precision"
    },
)
