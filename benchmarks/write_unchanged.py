"""Child process: whole models of many families, unchanged, in every container that carries a network.

    python benchmarks/write_unchanged.py FOLDER tf_keras|keras|garden [FAMILY ...]

Random weights, norms with the statistics of what they take, 64 pixels (or as FAMILY-33 says), 7 classes.
FOLDER/<family> gets model.h5, model.keras, saved/ (by `tf.saved_model.save`), exported/ (by the library's own
export), frozen.pb and model.tflite, as far as the library has them.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}

import numpy as np
import tensorflow as tf
from families import CLASSES, DEEPER, GARDEN, KERAS, SIZE, SMALL
from measured_norms import measure_norms
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2 as freeze

RNG = np.random.default_rng(29)
_FIRST = 30.0
RANGES = {
    "variance": (0.6, 1.4),
    "gamma": (0.7, 1.3),
    "mean": (-0.1, 0.1),
    "beta": (-0.1, 0.1),
    "bias": (-0.1, 0.1),
}


def randomise(model: Any) -> Any:
    """Give every norm and bias a value of its own; kernels keep their initial random values.

    The first gamma is large: a cap that nothing reaches is the same as none, and no check could miss it.
    """
    is_first = True
    for variable in model.weights:
        name = (getattr(variable, "path", None) or variable.name).rpartition("/")[2]
        for word, limits in RANGES.items():
            if word in name:
                values = RNG.uniform(*limits, tuple(variable.shape))
                variable.assign(values * _FIRST if word == "gamma" and is_first else values)
                is_first &= word != "gamma"
    return model


def of_keras(generation: str) -> dict[str, Callable[[], Any]]:
    """Return what builds each family of keras.applications; ``NAME-33`` takes images of 33 pixels."""
    keras = importlib.import_module(generation)

    def build(name: str, arguments: dict[str, Any], size: int) -> Any:
        keras.backend.clear_session()
        make = getattr(keras.applications, name)
        return make(weights=None, input_shape=(size, size, 3), classes=CLASSES, **arguments)

    return {
        family if size == SIZE else f"{family}-{size}": (lambda each=each, size=size: build(*each, size))
        for size in (SIZE, *SMALL)
        for family, each in KERAS.items()
        if size != SIZE or family not in DEEPER
    }


def of_garden() -> dict[str, Callable[[], Any]]:
    """Return what builds each family of the Model Garden."""
    import tf_keras
    from official.vision.modeling.backbones import efficientnet, mobilenet, resnet, vit
    from official.vision.modeling.classification_model import ClassificationModel

    def build(kind: str, arguments: dict[str, Any]) -> Any:
        specs = tf_keras.layers.InputSpec(shape=[None, SIZE, SIZE, 3])
        if kind == "vit":
            spec = vit.VIT_SPECS[arguments["model_name"]]
            backbone = vit.VisionTransformer(
                input_specs=specs,
                **spec["transformer"],
                patch_size=spec["patch_size"],
                hidden_size=spec["hidden_size"],
            )
        else:
            make = {"mobilenet": mobilenet.MobileNet, "resnet": resnet.ResNet}
            make["efficientnet"] = efficientnet.EfficientNet
            backbone = make[kind](input_specs=specs, **arguments)
        return ClassificationModel(backbone, num_classes=CLASSES, input_specs=specs)

    return {family: (lambda each=each: build(*each)) for family, each in GARDEN.items()}


def ways(library: str, model: Any) -> dict[str, Callable[[str], Any]]:
    """Return what writes the model to each name."""

    def frozen(path: str) -> None:
        call = tf.function(lambda x: model(x, training=False))
        concrete = call.get_concrete_function(tf.TensorSpec((1, *model.input_shape[1:]), tf.float32))
        Path(path).write_bytes(freeze(concrete).graph.as_graph_def().SerializeToString())

    found: dict[str, Callable[[str], Any]] = {"frozen.pb": frozen}

    def lite(path: str) -> None:
        Path(path).write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())

    if library == "garden":
        return found | {"saved": lambda path: tf.saved_model.save(model, path), "served": served(model)}
    found |= {"model.h5": model.save, "model.keras": model.save, "model.tflite": lite}
    if library == "keras":
        return found | {"exported": lambda path: model.export(path, verbose=False)}
    return found | {
        "saved": lambda path: tf.saved_model.save(model, path),
        "exported": model.export,
    }


def served(model: Any) -> Callable[[str], Any]:
    """Return what exports a Garden model as the Garden serves it: uint8 images, prepared in the graph."""
    from official.vision.configs import image_classification as configs
    from official.vision.serving import image_classification

    def export(path: str) -> None:
        params = configs.image_classification()
        params.task.model.num_classes = CLASSES
        module = image_classification.ClassificationModule(
            params=params, batch_size=1, input_image_size=[SIZE, SIZE], input_type="image_tensor", model=model
        )
        signatures = module.get_inference_signatures({"image_tensor": "serving_default"})
        tf.saved_model.save(module, path, signatures=signatures)

    return export


def main(folder: Path, library: str, *families: str) -> None:
    """Write every family in every way."""
    builders = of_garden() if library == "garden" else of_keras(library)
    for family in families or builders:
        out = folder / library / family
        if out.exists():
            print(out, flush=True)
            continue
        model = randomise(builders[family]())
        measure_norms(model, model.input_shape[1:])
        out.mkdir(parents=True)
        for name, write in ways(library, model).items():
            try:
                write(str(out / name))
            except Exception:  # noqa: BLE001 (what a library cannot write is not porter's to read)
                print(f"{library} cannot write {family}/{name}", file=sys.stderr)
                traceback.print_exc(limit=-2)
        print(out, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("library", choices=("tf_keras", "keras", "garden"))
    parser.add_argument("families", nargs="*", metavar="FAMILY")
    asked = parser.parse_args()
    main(asked.folder, asked.library, *asked.families)
