"""The network that a Model Garden training describes in ``params.yaml``, built by the Garden itself.

The settings are plain values: they choose among what the Garden has registered, and no code of theirs is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras
from official.core import task_factory
from official.vision import registry_imports  # noqa: F401  (the Garden registers its tasks on import)
from official.vision.configs.image_classification import ImageClassificationTask

from porter.checkpoints.tensorflow.garden_settings import task_settings
from porter.core.checkpoint import Checkpoint
from porter.core.training_settings import TrainingSettings
from porter.errors import ParityError
from porter.planning.plan import Plan
from porter.runners.restoring import restore

_RGB = 3
# Backbones whose variables depend on the size of the images.
_SIZED = ("vit",)


def build(settings: TrainingSettings) -> Any:
    """Return the classification model that the settings ask for, with the Garden's initial weights.

    It takes images of any size, unless its backbone is made for one.

    Raises:
        ParityError: the settings are not those of a classification, or ask for what the installed Garden does
            not know (``runner/unknown-setting``).
    """
    model = dict(_asked(settings))
    norm = {**_mapping(model.get("norm_activation"))}
    if settings.epsilon is not None:
        norm["norm_epsilon"] = settings.epsilon  # a number, also where YAML reads 1e-5 as text
    size = list(model.get("input_size") or [None, None, _RGB])
    if settings.backbone not in _SIZED:
        size[:2] = None, None
    task = ImageClassificationTask()
    try:
        task.model.override({**model, "norm_activation": norm, "input_size": []})
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ParityError(
            "runner/unknown-setting",
            "the installed Model Garden does not know a setting of task.model",
            file=settings.file,
            found=str(error).strip("'\"").splitlines()[0][:200],
        ) from error
    task.model.input_size = size
    tf_keras.backend.set_floatx("float32")
    return task_factory.get_task(task).build_model()


def restored(checkpoint: Checkpoint, settings: TrainingSettings, plan: Plan) -> Any:
    """Return the inference of the settings' model with the checkpoint's weights, restored by TensorFlow.

    It is a concrete function of float32 images (N, H, W, C).

    Raises:
        ParityError: see `build`; or the checkpoint does not store objects, or lacks weights of the model.
    """
    model = build(settings)
    restore(model, plan, checkpoint)

    @tf.function  # type: ignore[untyped-decorator]
    def call(images: Any) -> Any:
        return model(images, training=False)

    return call.get_concrete_function(tf.TensorSpec(model.inputs[0].shape, tf.float32))


def _asked(settings: TrainingSettings) -> Mapping[str, Any]:
    return _mapping(task_settings(settings.file).get("model"))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
