"""Write checkpoints as TensorFlow 1 programs did: tf.compat.v1's Saver, published names, moving averages.

Usage: python write_tensorflow1.py FOLDER

Writes for every network FOLDER/NAME/model.ckpt-100, averages.ckpt (the moving averages alone) and
expected.npz: the moving average of every variable by name. The names are made here from what the original
code says of each network, not from porter's tables.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

CLASSES = 1001
FEW = 5
Variable = tuple[str, tuple[int, ...]]


def norm(scope: str, width: int) -> Iterator[Variable]:
    """Yield the variables of a batch normalisation."""
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        yield f"{scope}/{name}", (width,)


def efficientnet(model: str, stages: list[tuple[int, ...]], *, squeeze: bool = True) -> Iterator[Variable]:
    """EfficientNet of tensorflow/tpu and google/automl.

    A stage is repeats, kernel, expansion, width, and 1 where its blocks are fused: one convolution instead of
    two. EdgeTPU's first stage expands its own width, whatever comes in.
    """
    yield f"{model}/stem/conv2d/kernel", (3, 3, 3, 32)
    yield from norm(f"{model}/stem/tpu_batch_normalization", 32)
    width, number = 32, 0
    for repeats, kernel, expansion, out, fused in stages:
        for _ in range(repeats):
            scope, mid = (
                f"{model}/blocks_{number}",
                expansion * (width if number or not fused else EXPANDED[model]),
            )
            if fused:
                yield from fused_block(scope, (width, mid, out), kernel)
            else:
                yield from block(scope, (width, mid, out), kernel, squeeze=squeeze)
            width, number = out, number + 1
    yield f"{model}/head/conv2d/kernel", (1, 1, width, 1280)
    yield from norm(f"{model}/head/tpu_batch_normalization", 1280)
    yield f"{model}/head/dense/kernel", (1280, CLASSES)
    yield f"{model}/head/dense/bias", (CLASSES,)


def block(scope: str, widths: tuple[int, int, int], kernel: int, *, squeeze: bool) -> Iterator[Variable]:
    """MBConvBlock: layers of a kind are numbered from the second on."""
    width, mid, out = widths
    convs, norms = iter(["conv2d", "conv2d_1"]), iter(["", "_1", "_2"])
    if mid != width:
        yield f"{scope}/{next(convs)}/kernel", (1, 1, width, mid)
        yield from norm(f"{scope}/tpu_batch_normalization{next(norms)}", mid)
    yield f"{scope}/depthwise_conv2d/depthwise_kernel", (kernel, kernel, mid, 1)
    yield from norm(f"{scope}/tpu_batch_normalization{next(norms)}", mid)
    for name, shape in (("conv2d", (mid, width // 4)), ("conv2d_1", (width // 4, mid))):
        if squeeze:
            yield f"{scope}/se/{name}/kernel", (1, 1, *shape)
            yield f"{scope}/se/{name}/bias", (shape[1],)
    yield f"{scope}/{next(convs)}/kernel", (1, 1, mid, out)
    yield from norm(f"{scope}/tpu_batch_normalization{next(norms)}", out)


def fused_block(scope: str, widths: tuple[int, int, int], kernel: int) -> Iterator[Variable]:
    """MBConvBlockWithoutDepthwise and FusedMBConvBlock; the latter may be a single convolution."""
    width, mid, out = widths
    if mid == width:
        yield f"{scope}/conv2d/kernel", (kernel, kernel, width, out)
        yield from norm(f"{scope}/tpu_batch_normalization", out)
        return
    yield f"{scope}/conv2d/kernel", (kernel, kernel, width, mid)
    yield from norm(f"{scope}/tpu_batch_normalization", mid)
    yield f"{scope}/conv2d_1/kernel", (1, 1, mid, out)
    yield from norm(f"{scope}/tpu_batch_normalization_1", out)


def counted(model: str, blocks: list[tuple[int, ...]]) -> Iterator[Variable]:
    """MnasNet: Keras counts its convolutions over the whole network, the blocks first, then stem and head.

    A block is kernel, width inside, width, and how far squeeze-and-excitation goes (0: it has none).
    """
    net, width, convs = f"{model}/mnas_net_model", 32, 0

    def conv(scope: str, shape: tuple[int, ...]) -> Variable:
        nonlocal convs
        name = f"conv2d_{convs}" if convs else "conv2d"
        convs += 1
        return f"{net}/{scope}/{name}/kernel", shape

    for number, (kernel, mid, out, squeeze) in enumerate(blocks):
        scope, norms = f"mnas_blocks_{number}", iter(["", "_1", "_2"])
        if mid != width:
            yield conv(scope, (1, 1, width, mid))
            yield from norm(f"{model}/{scope}/batch_normalization{next(norms)}", mid)
        depthwise = f"depthwise_conv2d_{number}" if number else "depthwise_conv2d"
        yield f"{net}/{scope}/{depthwise}/depthwise_kernel", (kernel, kernel, mid, 1)
        yield from norm(f"{model}/{scope}/batch_normalization{next(norms)}", mid)
        for shape in ((mid, squeeze), (squeeze, mid)) if squeeze else ():
            name, whole = conv(f"{scope}/se", (1, 1, *shape))
            yield name, whole
            yield name.replace("kernel", "bias"), shape[1:]
        yield conv(scope, (1, 1, mid, out))
        yield from norm(f"{model}/{scope}/batch_normalization{next(norms)}", out)
        width = out
    yield conv("mnas_stem", (3, 3, 3, 32))
    yield from norm(f"{model}/mnas_stem/batch_normalization", 32)
    yield conv("mnas_head", (1, 1, width, 1280))
    yield from norm(f"{model}/mnas_head/batch_normalization", 1280)
    yield f"{net}/mnas_head/dense/kernel", (1280, CLASSES)
    yield f"{net}/mnas_head/dense/bias", (CLASSES,)


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


EXPANDED = {"efficientnet-edgetpu-S": 24, "efficientnetv2-b0": 32}
B0 = [(1, 3, 1, 16, 0), (2, 3, 6, 24, 0), (2, 5, 6, 40, 0), (3, 3, 6, 80, 0), (3, 5, 6, 112, 0)]
B0 += [(4, 5, 6, 192, 0), (1, 3, 6, 320, 0)]
EDGETPU_S = [
    (1, 3, 4, 24, 1),
    (2, 3, 8, 32, 1),
    (4, 3, 8, 48, 1),
    (5, 5, 8, 96, 0),
    (4, 5, 8, 144, 0),
    (2, 5, 8, 192, 0),
]
V2_B0 = [
    (1, 3, 1, 16, 1),
    (2, 3, 4, 32, 1),
    (2, 3, 4, 48, 1),
    (3, 3, 4, 96, 0),
    (5, 3, 6, 112, 0),
    (8, 3, 6, 192, 0),
]
A1 = [
    (3, 32, 16, 0),
    (3, 96, 24, 0),
    (3, 144, 24, 0),
    (5, 72, 40, 6),
    *[(5, 120, 40, 10)] * 2,
    (3, 240, 80, 0),
]
A1 += [
    *[(3, 480, 80, 0)] * 3,
    (3, 480, 112, 20),
    (3, 672, 112, 28),
    (5, 672, 160, 28),
    *[(5, 960, 160, 40)] * 2,
]
A1 += [(3, 960, 320, 0)]
NETWORKS = {
    "tpu_mnasnet_a1": partial(counted, "mnasnet-a1", A1),
    "tpu_efficientnet_b0": partial(efficientnet, "efficientnet-b0", B0),
    "tpu_efficientnet_lite0": partial(efficientnet, "efficientnet-lite0", B0, squeeze=False),
    "tpu_efficientnet_es": partial(efficientnet, "efficientnet-edgetpu-S", EDGETPU_S, squeeze=False),
    "automl_efficientnetv2_b0": partial(efficientnet, "efficientnetv2-b0", V2_B0),
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
    """Make the variables, their averages and a few of an optimizer's slots, and save them by name."""
    rng = np.random.default_rng(11)
    averages, shadows = {}, []
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for number, (name, shape) in enumerate(variables):
            for suffix in ("", "/ExponentialMovingAverage", "/RMSProp")[: 3 if number < FEW else 2]:
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
