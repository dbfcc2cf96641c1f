"""Networks of the TensorFlow Model Garden (tf-models-official), as its own classes build them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras
from official.vision.dataloaders.classification_input import Parser
from official.vision.modeling.backbones import mobilenet
from official.vision.modeling.classification_model import ClassificationModel

from porter.runners.builders import Keras, Source
from porter.tensors import Array


def _mobilenet(arguments: Mapping[str, Any], *, classes: int, channels: int, bn_eps: float) -> Keras:
    specs = _specs(channels)
    backbone = mobilenet.MobileNet(input_specs=specs, norm_epsilon=bn_eps, **arguments)
    return _classifier(backbone, specs, classes)


def _specs(channels: int, size: int | None = None) -> Keras:
    return tf_keras.layers.InputSpec(shape=[None, size, size, channels])


def _classifier(backbone: Keras, specs: Keras, classes: int) -> Keras:
    return ClassificationModel(
        backbone, num_classes=classes, input_specs=specs, skip_logits_layer=classes == 0
    )


def _picture(path: str, size: int) -> Array:
    decoded = tf.io.decode_image(Path(path).read_bytes(), channels=3, expand_animations=False)
    prepared: Array = Parser.inference_fn(decoded, [size, size]).numpy()
    return prepared


SOURCE = Source(
    builders={"mobilenet": _mobilenet},
    packages=("tensorflow", "tf-keras", "tf-models-official", "numpy"),
    prepare=_picture,
)
