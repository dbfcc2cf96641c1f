"""Writes TensorFlow Lite models with TensorFlow's converter, and what its interpreter computes of one image.

``python write_tflite.py FOLDER`` writes VARIANT_KIND.tflite and head.tflite, and beside each a file .npz with
``pixels`` (1, H, W, 3) in 0..255 and ``probabilities`` (1, K).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2 as freeze

from porter.runners.builders import build
from porter.tables.shipped import load_tables
from porter.tables.variants import Variant

SIZE, CLASSES = 64, 7
KINDS = ("float32", "float16", "dynamic", "int8")
# What differs of a DenseNet is where its norms are, which 16 bits and weights of 8 bits leave as it is.
FEWER_KINDS = {"keras_densenet121": ("float32", "int8")}
KERAS = {
    "keras_mobilenetv1_025": ("MobileNet", {"alpha": 0.25}),
    "keras_mobilenetv2_035": ("MobileNetV2", {"alpha": 0.35}),
    "keras_mobilenetv3_small_075": ("MobileNetV3Small", {"alpha": 0.75}),
    "keras_densenet121": ("DenseNet121", {}),
}
BUILT = ("garden_mobilenetv4_conv_small_050", "tpu_efficientnet_lite0", "garden_resnet50")
# Values of float16 and of 8 bits hold what sums of many residual blocks give only if each adds little.
GAINS = {"garden_mobilenetv4_conv_small_050": 1.0, "tpu_efficientnet_lite0": 1.0, "garden_resnet50": 0.7}
_DECIDED = 0.6
_RULES = {"gamma": (1.0, 0.2), "beta": (0.0, 0.3), "bias": (0.0, 0.3), "moving_mean": (0.0, 0.3)}


def models() -> Iterator[tuple[Variant, Any, Callable[[Any], Any]]]:
    """Yield each network, its model, and what computes probabilities of prepared images."""
    tables = load_tables()
    for name, (builder, arguments) in KERAS.items():
        options = {"input_shape": (SIZE, SIZE, 3), "weights": None, "classes": CLASSES}
        model = getattr(keras.applications, builder)(**arguments, **options)
        yield tables.variant(name), model, model
    for name in BUILT:
        variant = tables.variant(name)
        lengths = {length: free.default for length, free in variant.free.items()} | {"classes": CLASSES}
        epsilon = variant.bn_eps.default
        model = build(variant.source.name, variant.source.arguments, bn_eps=epsilon, **lengths)
        model(tf.zeros((1, SIZE, SIZE, 3)))
        yield variant, model, lambda images, model=model: tf.nn.softmax(model(images, training=False))


def headed() -> Any:
    """Return a network with a head of layers that TensorFlow Lite spells in its own way, a norm first."""
    layers = keras.layers
    base = keras.applications.MobileNet(
        input_shape=(SIZE, SIZE, 3), include_top=False, weights=None, alpha=0.25
    )
    head = [layers.Dense(16), layers.PReLU(), layers.LayerNormalization(), layers.Dense(CLASSES, "softmax")]
    return keras.Sequential(
        [
            base,
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dense(8, "relu"),
            layers.GlobalAveragePooling2D(),
            *head,
        ]
    )


def randomise(model: Any, gain: float) -> None:
    """Give every weight a value that matters: a network whose image no longer does would prove nothing.

    Args:
        model: The network.
        gain: Variance of what a layer adds up to, for inputs of variance 1.
    """
    random = np.random.default_rng(5)
    for weight in model.weights:
        leaf = getattr(weight, "path", weight.name.partition(":")[0]).rpartition("/")[2]
        if leaf == "moving_variance":
            weight.assign(random.uniform(0.3, 1.0, weight.shape))
        elif leaf in _RULES:
            weight.assign(random.normal(*_RULES[leaf], weight.shape))
        else:
            fan_in = np.prod(weight.shape[:2] if "depthwise" in leaf else weight.shape[:-1])
            weight.assign(random.normal(0, (gain / fan_in) ** 0.5, weight.shape))


def undecided(model: Any, compute: Callable[[Any], Any], image: Any) -> None:
    """Make the classifier's weights smaller until no class is all of it: a 1 hides what the others are."""
    while np.ptp(compute(image)) > _DECIDED:
        for weight in model.weights:
            if weight.shape[-1:] == (CLASSES,):
                weight.assign(weight / 2)


def converted(compute: Callable[[Any], Any], kind: str, image: Any) -> bytes:
    """Return a model as TensorFlow's converter writes it."""
    call = tf.function(compute).get_concrete_function(tf.TensorSpec(image.shape))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([freeze(call)])
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


def prepared(pixels: Any, variant: Variant) -> Any:
    """Return images as the network takes them, (1, H, W, 3) float32."""
    if variant.name.startswith("keras_mobilenetv3"):  # it prepares images by itself
        return pixels
    return ((pixels / 255 - variant.input.mean) / variant.input.std).astype(np.float32)


def main(folder: Path) -> None:
    """Write every model."""
    pixels = np.random.default_rng(1).integers(0, 256, (1, SIZE, SIZE, 3)).astype(np.float32)
    for variant, model, compute in models():
        image = prepared(pixels, variant)
        randomise(model, GAINS.get(variant.name, 2.5))
        undecided(model, compute, image)
        for kind in FEWER_KINDS.get(variant.name, KINDS):
            write(folder / f"{variant.name}_{kind}.tflite", converted(compute, kind, image), pixels, image)
    model = headed()
    randomise(model, 2.5)
    image = prepared(pixels, load_tables().variant("keras_mobilenetv1_025"))
    undecided(model, model, image)
    write(folder / "head.tflite", converted(model, "float32", image), pixels, image)


def write(file: Path, content: bytes, pixels: Any, image: Any) -> None:
    """Write a model and what it computes."""
    file.write_bytes(content)
    found = probabilities(content, pixels, image)
    np.savez(file.with_suffix(".npz"), pixels=pixels, probabilities=found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
