"""Child process: networks of one generation of Keras: ``python write_networks.py tf_keras|keras FOLDER``.

Writes FOLDER/MODEL.h5 and FOLDER/MODEL.keras with seeded weights; FOLDER/Nested.h5 and .keras: a backbone as
one layer behind Keras's `preprocess_input`, as its guide to transfer learning builds it; FOLDER/head.keras: a
classifier of one unit with a sigmoid on a backbone's own graph; FOLDER/odd.keras: of 33
pixels; FOLDER/odd_cut.keras: two maps of it; FOLDER/any.keras: of none.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

MODELS = {
    "MobileNetV2": {"alpha": 0.35},
    "MobileNetV3Small": {},
    "EfficientNetB0": {},
    "ResNet50": {},
    # So small that its last layers see one pixel, on which a 1x1 convolution is a dense layer.
    "MobileNet": {"alpha": 0.25, "input_shape": (32, 32, 3)},
}


def main(generation: str, folder: Path) -> None:
    """Write them all."""
    keras = importlib.import_module(generation)
    for name, arguments in MODELS.items():
        build = getattr(keras.applications, name)
        model = build(weights=None, classes=5, **{"input_shape": (96, 96, 3), **arguments})
        model.save(folder / f"{name}.h5")
        model.save(folder / f"{name}.keras")
    nested(keras, folder / "Nested")
    odd = keras.applications.MobileNet((33, 33, 3), alpha=0.25, weights=None, classes=5)
    odd.save(folder / "odd.keras")
    maps = [odd.get_layer(name).output for name in ("conv_pw_3_relu", "conv_pw_5_relu")]
    keras.Model(odd.input, maps).save(folder / "odd_cut.keras")
    keras.applications.MobileNetV2((None, None, 3), alpha=0.35, weights=None, include_top=False).save(
        folder / "any.keras"
    )
    base = keras.applications.MobileNetV2(
        weights=None, input_shape=(96, 96, 3), include_top=False, alpha=0.35
    )
    pooled = keras.layers.GlobalAveragePooling2D()(base.output)
    model = keras.Model(base.input, keras.layers.Dense(1, activation="sigmoid")(pooled))
    model.save(folder / "head.keras")
    largest = keras.layers.GlobalMaxPooling2D()(base.output)
    keras.Model(base.input, keras.layers.Dense(3)(largest)).save(folder / "largest.keras")


def nested(keras, path: Path) -> None:
    """Write a backbone that stands as one layer in a model."""
    images = keras.Input((96, 96, 3))
    prepared = keras.applications.mobilenet_v2.preprocess_input(images)
    base = keras.applications.MobileNetV2(
        weights=None, input_shape=(96, 96, 3), include_top=False, alpha=0.35
    )
    pooled = keras.layers.GlobalAveragePooling2D()(base(prepared, training=False))
    answer = keras.layers.Dense(5, activation="softmax")(keras.layers.Dropout(0.2)(pooled))
    model = keras.Model(images, answer)
    model.save(path.with_suffix(".h5"))
    model.save(path.with_suffix(".keras"))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
