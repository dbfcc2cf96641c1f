"""Writes TensorFlow Lite models with TensorFlow's converter, and what its interpreter computes of one image.

``python write_tflite.py FOLDER`` writes NAME_KIND.tflite and NAME_KIND.npz with ``pixels`` (1, H, W, 3) in
0..255 and ``probabilities`` (1, K).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

SIZE, CLASSES = 64, 7
KINDS = {
    "mobilenetv1": ("float16", "dynamic", "int8"),
    "mobilenetv2": ("float32",),
    "mobilenetv3": ("float32",),
    "densenet": ("float32", "int8"),
}
# What DenseNet takes; MobileNetV3 prepares images by itself.
_MEAN, _STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
_RULES = {"gamma": (1.0, 0.2), "beta": (0.0, 0.3), "bias": (0.0, 0.3), "moving_mean": (0.0, 0.3)}


def models() -> dict[str, Any]:
    """Return each network by name."""
    shape, applications = (SIZE, SIZE, 3), keras.applications
    options = {"input_shape": shape, "weights": None, "classes": CLASSES}
    return {
        "mobilenetv1": applications.MobileNet(alpha=0.25, **options),
        "mobilenetv2": applications.MobileNetV2(alpha=0.35, **options),
        "mobilenetv3": applications.MobileNetV3Small(alpha=0.75, **options),
        "densenet": applications.DenseNet121(**options),
    }


def randomise(model: Any) -> None:
    """Give every weight a value that matters: a network whose image no longer does would prove nothing."""
    random = np.random.default_rng(5)
    for weight in model.weights:
        leaf = weight.path.rpartition("/")[2]
        if leaf == "moving_variance":
            weight.assign(random.uniform(0.3, 1.0, weight.shape))
        elif leaf in _RULES:
            weight.assign(random.normal(*_RULES[leaf], weight.shape))
        else:
            fan_in = np.prod(weight.shape[:2] if "depthwise" in leaf else weight.shape[:-1])
            weight.assign(random.normal(0, (2.5 / fan_in) ** 0.5, weight.shape))


def converted(model: Any, kind: str, image: Any) -> bytes:
    """Return a model as TensorFlow's converter writes it."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind == "int8":

        def images() -> Iterator[list[Any]]:
            yield [image]

        converter.representative_dataset = images
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    return bytes(converter.convert())


def probabilities(content: bytes, pixels: Any, image: Any) -> Any:
    """Return what the interpreter computes, (1, K) float32."""
    interpreter = tf.lite.Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(given["index"], pixels.astype("uint8") if given["dtype"] == np.uint8 else image)
    interpreter.invoke()
    found = interpreter.get_tensor(made["index"])
    scale, zero_point = made["quantization"]
    return found if found.dtype == np.float32 else (found.astype(np.float32) - zero_point) * scale


def scaled(pixels: Any) -> Any:
    """Return images in -1..1, as MobileNetV1 and V2 take them."""
    return pixels / np.float32(127.5) - 1


PREPARED = {"mobilenetv3": lambda pixels: pixels, "densenet": lambda pixels: (pixels / 255 - _MEAN) / _STD}


def main(folder: Path) -> None:
    """Write every model."""
    pixels = np.random.default_rng(1).integers(0, 256, (1, SIZE, SIZE, 3)).astype(np.float32)
    for name, model in models().items():
        randomise(model)
        image = PREPARED.get(name, scaled)(pixels)
        for kind in KINDS[name]:
            content = converted(model, kind, image)
            (folder / f"{name}_{kind}.tflite").write_bytes(content)
            np.savez(
                folder / f"{name}_{kind}.npz",
                pixels=pixels,
                probabilities=probabilities(content, pixels, image),
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
