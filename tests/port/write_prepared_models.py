"""Write models that prepare their own images; a process of its own, run by the tests.

Usage: python write_prepared_models.py {tf_keras,keras} FOLDER

Each model is MobileNetV1 of a quarter's width, without its head, at 96 pixels behind other layers. Written
are FOLDER/<model>.h5, .keras, some .saved_model and .tflite, and FOLDER/prepared.npz with what those layers
make of the pixels 0, 1, ..., 255 of every channel. Beside them FOLDER/grey.* (.exported, a SavedModel, .pb
too), which takes images without an axis of channels, and FOLDER/grey.npz: ``x`` and what it answers, ``y``.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402  (after the settings above)
import tensorflow as tf  # noqa: E402
from tensorflow.python.framework.convert_to_constants import (  # noqa: E402
    convert_variables_to_constants_v2,
)

WRITER, FOLDER = sys.argv[1], Path(sys.argv[2])
if WRITER == "tf_keras":
    import tf_keras as keras
else:
    import keras

layers = keras.layers


def adapted():
    """Return a Normalization that has seen images, so that its values are variables."""
    layer = layers.Normalization(name="seen")
    layer.adapt(np.random.default_rng(3).uniform(0, 255, (4, 96, 96, 3)).astype(np.float32))
    return layer


def turned_round(x):
    """Return images with their colours in the opposite order."""
    return x[..., ::-1]


def flipped(x):
    """Return images with left and right exchanged."""
    return tf.reverse(x, [2]) if WRITER == "tf_keras" else keras.ops.flip(x, axis=2)


MODELS = {
    "rescaled": lambda: [layers.RandomFlip(), layers.Rescaling(1 / 127.5, -1.0, name="scaled")],
    "two_steps": lambda: [
        layers.Rescaling(1 / 255, name="scaled"),
        layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.05, 0.06, 0.07], name="given"),
    ],
    "adapted": lambda: [adapted()],
    "resized": lambda: [layers.Resizing(96, 96), layers.Rescaling(1 / 255, name="scaled")],
    "lambda": lambda: [layers.Lambda(lambda x: x / 127.5 - 1.0, name="own_code")],
    "arithmetic": lambda: [keras.applications.mobilenet.preprocess_input],
    "by_channel": lambda: [keras.applications.densenet.preprocess_input],
    "caffe": lambda: [keras.applications.resnet50.preprocess_input],
    "turned": lambda: [layers.Rescaling([0.1, 0.2, 0.3], name="scaled"), turned_round],
    "cropped": lambda: [layers.CenterCrop(96, 96, name="crop"), layers.Rescaling(1 / 127.5, -1.0)],
    "flipped": lambda: [flipped, layers.Rescaling(1 / 127.5, -1.0)],
    "smaller": lambda: [layers.Resizing(96, 96), layers.Rescaling(1 / 127.5, -1.0)],
}
CONVERTED = ("rescaled", "arithmetic", "caffe", "turned", "cropped", "flipped", "smaller")
LARGE = ("cropped", "smaller")


def main() -> None:
    """Write everything below FOLDER."""
    ramp = np.repeat(np.arange(256, dtype=np.float32), 3).reshape(1, 1, 256, 3)
    prepared = {}
    for name, make in MODELS.items():
        front = make()
        sides = (None, None) if name == "resized" else (128, 128) if name in LARGE else (96, 96)
        inputs = x = keras.Input((*sides, 3))
        values = ramp
        for layer in front:
            x = layer(x)
            if type(layer).__name__ in ("Rescaling", "Normalization", "function"):
                values = np.asarray(layer(np.array(values)))  # preprocess_input writes into arrays
        shape = (None, None, 3) if name == "resized" else (96, 96, 3)
        network = keras.applications.MobileNet(input_shape=shape, alpha=0.25, weights=None, include_top=False)
        model = keras.Model(inputs, network(x))
        model.save(FOLDER / f"{name}.h5")
        if (WRITER, name) not in (("tf_keras", "caffe"), ("tf_keras", "turned")):  # it cannot: an Ellipsis
            model.save(FOLDER / f"{name}.keras")
        if WRITER == "tf_keras" and name in ("two_steps", "adapted", "lambda", "caffe"):
            model.save(FOLDER / f"{name}.saved_model", save_format="tf", save_traces=False)
        if name in CONVERTED:
            (FOLDER / f"{name}.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
        prepared[name] = values[0, 0]
    np.savez(FOLDER / "prepared.npz", **prepared)
    write_grey()


def write_grey() -> None:
    """Write a model that gives its images their one channel by itself."""
    inputs = keras.Input((96, 64))
    x = layers.Rescaling(1 / 127.5, -1.0)(layers.Reshape((96, 64, 1), name="with_channel")(inputs))
    network = keras.applications.MobileNet(input_shape=(96, 64, 1), alpha=0.25, weights=None, classes=5)
    model = keras.Model(inputs, network(x))
    generator = np.random.default_rng(1)
    for weight in model.weights:
        if "kernel" in weight.name:
            fan_in = np.prod(weight.shape[:2] if weight.shape[-1] == 1 else weight.shape[:-1])
            weight.assign(generator.normal(0, (2.2 / fan_in) ** 0.5, weight.shape))
    images = generator.uniform(0, 255, (2, 96, 64)).astype(np.float32)
    np.savez(FOLDER / "grey.npz", x=images, y=np.asarray(model(images)))
    model.save(FOLDER / "grey.h5")
    model.save(FOLDER / "grey.keras")
    model.export(str(FOLDER / "grey.exported"))
    call = tf.function(lambda x: model(x, training=False))
    concrete = call.get_concrete_function(tf.TensorSpec((1, 96, 64), tf.float32))
    graph = convert_variables_to_constants_v2(concrete).graph.as_graph_def()
    (FOLDER / "grey.pb").write_bytes(graph.SerializeToString())
    (FOLDER / "grey.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


if __name__ == "__main__":
    main()
