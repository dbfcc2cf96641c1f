"""Child process: ``python partly_frozen.py FOLDER`` lets tf_keras save networks that were frozen in part.

MobileNetV1 of a quarter's width inside another model: FOLDER/<what was frozen>.h5 holds weights alone, and
expected.npz every variable, as ``layer/variable``.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402  (after the settings above)
import tf_keras as keras  # noqa: E402

FOLDER = Path(sys.argv[1])
RNG = np.random.default_rng(2)
FROZEN = {
    "nothing": lambda _: False,
    "everything": lambda _: True,
    "first_layers": lambda layer: layer.name.endswith(("1", "1_bn", "2", "2_bn", "3", "3_bn")),
    "one_of_five_equal": lambda layer: layer.name == "conv_pw_8",
    "stem": lambda layer: layer.name == "conv1",
    "norms": lambda layer: layer.name.endswith("_bn"),
}


def main() -> None:
    """Write everything below FOLDER."""
    base = keras.applications.MobileNet(input_shape=(64, 64, 3), alpha=0.25, weights=None, include_top=False)
    inputs = keras.Input((64, 64, 3))
    model = keras.Model(inputs, base(inputs))
    for weight in base.weights:
        weight.assign(RNG.uniform(0.5, 1.5, weight.shape))
    values = {weight.name.removesuffix(":0"): weight.numpy() for weight in base.weights}
    np.savez(FOLDER / "expected.npz", **values)
    for name, is_frozen in FROZEN.items():
        for layer in base.layers:
            layer.trainable = not is_frozen(layer)
        model.save_weights(FOLDER / f"{name}.h5")


if __name__ == "__main__":
    main()
