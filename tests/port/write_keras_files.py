"""Child process: the Model Garden as Keras's own files: ``python write_keras_files.py FOLDER MODEL_ID...``.

Every variable has random values, so that no two can be exchanged unseen. A checkpoint lies beside the files.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
import tf_keras
from official.vision.modeling.backbones import mobilenet
from official.vision.modeling.classification_model import ClassificationModel

WAYS = ("only.h5", "state.weights.h5", "archive.keras")


def main(folder: Path, *model_ids: str) -> None:
    """Write one folder per network below `folder`."""
    rng = np.random.default_rng(9)
    for model_id in model_ids:
        specs = tf_keras.layers.InputSpec(shape=[None, 64, 64, 3])
        backbone = mobilenet.MobileNet(model_id, input_specs=specs)
        model = ClassificationModel(backbone, 7, input_specs=specs)
        for variable in model.variables:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        target = folder / model_id
        target.mkdir()
        tf.train.Checkpoint(model=model).write(str(target / "ckpt"))
        for way in WAYS:
            save = model.save if way.endswith(".keras") else model.save_weights
            save(str(target / way))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
