"""Write checkpoints as TensorFlow 1 programs did: tf.compat.v1's Saver, published names, moving averages.

Usage: python write_tensorflow1.py FOLDER

Writes for every network FOLDER/NAME/model.ckpt-100, averages.ckpt (the moving averages alone) and
expected.npz: the moving average of every variable by name. The names are made here from what the original
code says of each network, not from porter's tables.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

CLASSES = 1001
Variable = tuple[str, tuple[int, ...]]


def norm(scope: str, width: int) -> Iterator[Variable]:
    """Yield the variables of a batch normalisation."""
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        yield f"{scope}/{name}", (width,)


def slim(scope: str, shape: tuple[int, ...], *, depthwise: bool = False) -> Iterator[Variable]:
    """Yield the variables of a convolution of tf.contrib.slim with batch normalisation."""
    yield f"{scope}/{'depthwise_' if depthwise else ''}weights", shape
    yield from norm(f"{scope}/BatchNorm", shape[2] if depthwise else shape[3])


def biased(scope: str, shape: tuple[int, ...]) -> Iterator[Variable]:
    """Yield the variables of a convolution of tf.contrib.slim without batch normalisation."""
    yield f"{scope}/weights", shape
    yield f"{scope}/biases", (shape[-1],)


def slim_v1() -> Iterator[Variable]:
    """Width 0.25."""
    yield from slim("MobilenetV1/Conv2d_0", (3, 3, 3, 8))
    width = 8
    for number, out in enumerate([16, 32, 32, 64, 64, *[128] * 6, 256, 256], 1):
        scope = f"MobilenetV1/Conv2d_{number}"
        yield from slim(f"{scope}_depthwise", (3, 3, width, 1), depthwise=True)
        yield from slim(f"{scope}_pointwise", (1, 1, width, out))
        width = out
    yield from biased("MobilenetV1/Logits/Conv2d_1c_1x1", (1, 1, width, CLASSES))


def expanded(scope: str, widths: tuple[int, int, int], kernel: int, squeeze: int = 0) -> Iterator[Variable]:
    """Slim's expanded_conv: (in, middle, out)."""
    width, mid, out = widths
    if mid != width:
        yield from slim(f"{scope}/expand", (1, 1, width, mid))
    yield from slim(f"{scope}/depthwise", (kernel, kernel, mid, 1), depthwise=True)
    if squeeze:
        yield from biased(f"{scope}/squeeze_excite/Conv", (1, 1, mid, squeeze))
        yield from biased(f"{scope}/squeeze_excite/Conv_1", (1, 1, squeeze, mid))
    yield from slim(f"{scope}/project", (1, 1, mid, out))


def slim_v2() -> Iterator[Variable]:
    """Width 0.35."""
    outs = [8, 8, 8, *[16] * 3, *[24] * 4, *[32] * 3, *[56] * 3, 112]
    yield from slim("MobilenetV2/Conv", (3, 3, 3, 16))
    width = 16
    for number, out in enumerate(outs):
        scope = f"MobilenetV2/expanded_conv_{number}" if number else "MobilenetV2/expanded_conv"
        yield from expanded(scope, (width, width * 6 if number else width, out), 3)
        width = out
    yield from slim("MobilenetV2/Conv_1", (1, 1, width, 1280))
    yield from biased("MobilenetV2/Logits/Conv2d_1c_1x1", (1, 1, 1280, CLASSES))


def slim_v3_small() -> Iterator[Variable]:
    """(middle, out, kernel, squeeze) of every block."""
    blocks = [
        (16, 16, 3, 8),
        (72, 24, 3, 0),
        (88, 24, 3, 0),
        (96, 40, 5, 24),
        (240, 40, 5, 64),
        (240, 40, 5, 64),
    ]
    blocks += [(120, 48, 5, 32), (144, 48, 5, 40), (288, 96, 5, 72), (576, 96, 5, 144), (576, 96, 5, 144)]
    yield from slim("MobilenetV3/Conv", (3, 3, 3, 16))
    width = 16
    for number, (mid, out, kernel, squeeze) in enumerate(blocks):
        scope = f"MobilenetV3/expanded_conv_{number}" if number else "MobilenetV3/expanded_conv"
        yield from expanded(scope, (width, mid, out), kernel, squeeze)
        width = out
    yield from slim("MobilenetV3/Conv_1", (1, 1, width, 576))
    yield from biased("MobilenetV3/Conv_2", (1, 1, 576, 1024))
    yield from biased("MobilenetV3/Logits/Conv2d_1c_1x1", (1, 1, 1024, CLASSES))


NETWORKS = {
    "slim_mobilenetv1_025": slim_v1,
    "slim_mobilenetv2_035": slim_v2,
    "slim_mobilenetv3_small_100": slim_v3_small,
}


def random_values(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return kernels that keep the signal's size, and positive numbers around 1 for the rest."""
    if len(shape) == 1:
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    fan_in = np.prod(shape[:2]) if shape[3:] == (1,) else np.prod(shape[:-1])
    return rng.normal(0, fan_in**-0.5, shape).astype(np.float32)


def write(folder: Path, variables: Iterator[Variable]) -> None:
    """Make the variables, their averages and an optimizer's slots, and save them by name."""
    rng = np.random.default_rng(11)
    averages, shadows = {}, []
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, shape in variables:
            for suffix in ("", "/ExponentialMovingAverage", "/RMSProp"):
                values = random_values(rng, shape)
                made = tf.compat.v1.get_variable(name + suffix, initializer=values, use_resource=False)
                if suffix == "/ExponentialMovingAverage":
                    averages[name] = values
                    shadows.append(made)
        tf.compat.v1.train.get_or_create_global_step()
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(folder / "model.ckpt"), global_step=100)
        tf.compat.v1.train.Saver(shadows).save(session, str(folder / "averages.ckpt"))
    np.savez(folder / "expected.npz", **averages)


def main() -> None:
    """Write every network into a folder of its own."""
    for name, variables in NETWORKS.items():
        folder = Path(sys.argv[1]) / name
        folder.mkdir()
        write(folder, variables())


if __name__ == "__main__":
    main()
