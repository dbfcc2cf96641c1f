"""Names and shapes that the first TensorFlow implementations gave their variables, network by network.

They are made from what the original code says of each network: its list of stages, how it scales widths and
depths, how it numbers its layers. None comes from porter's tables.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator

CLASSES = 1001
Variable = tuple[str, tuple[int, ...]]
Stages = list[tuple[int, ...]]


def nearest(channels: float) -> int:
    """Return the multiple of 8 nearest to a scaled width, as google/automl rounds."""
    return max(8, int(channels + 4) // 8 * 8)


def rounded(channels: float) -> int:
    """Return the multiple of 8 nearest to a scaled width, but not less than nine tenths of it."""
    found = nearest(channels)
    return found + 8 if found < 0.9 * channels else found


def norm(scope: str, width: int) -> Iterator[Variable]:
    """Yield the variables of a batch normalisation."""
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        yield f"{scope}/{name}", (width,)


def biased(scope: str, shape: tuple[int, ...], leaves: tuple[str, str]) -> Iterator[Variable]:
    """Yield the variables of a layer with a bias, under the names that its code gives them."""
    yield f"{scope}/{leaves[0]}", shape
    yield f"{scope}/{leaves[1]}", (shape[-1],)


KERAS = ("kernel", "bias")
SLIM = ("weights", "biases")


# ---- EfficientNet of tensorflow/tpu and google/automl ----


def efficientnet(
    model: str, stages: Stages, *, stem: int = 32, head: int = 1280, squeeze: bool = True
) -> Iterator[Variable]:
    """EfficientNet.

    A stage is repeats, kernel, expansion, width, and 1 where its blocks are fused: one convolution instead of
    two. EdgeTPU's first stage expands its own width, whatever comes in.
    """
    yield f"{model}/stem/conv2d/kernel", (3, 3, 3, stem)
    yield from norm(f"{model}/stem/tpu_batch_normalization", stem)
    width, number = stem, 0
    for repeats, kernel, expansion, out, fused in stages:
        for _ in range(repeats):
            own = "edgetpu" in model and not number
            widths = (width, expansion * (out if own else width), out)
            scope = f"{model}/blocks_{number}"
            if fused:
                yield from fused_block(scope, widths, kernel)
            else:
                yield from block(scope, widths, kernel, squeeze=squeeze)
            width, number = out, number + 1
    yield f"{model}/head/conv2d/kernel", (1, 1, width, head)
    yield from norm(f"{model}/head/tpu_batch_normalization", head)
    yield from biased(f"{model}/head/dense", (head, CLASSES), KERAS)


def block(scope: str, widths: tuple[int, int, int], kernel: int, *, squeeze: bool) -> Iterator[Variable]:
    """MBConvBlock: layers of a kind are numbered from the second on."""
    width, mid, out = widths
    convs, norms = iter(["conv2d", "conv2d_1"]), iter(["", "_1", "_2"])
    if mid != width:
        yield f"{scope}/{next(convs)}/kernel", (1, 1, width, mid)
        yield from norm(f"{scope}/tpu_batch_normalization{next(norms)}", mid)
    yield f"{scope}/depthwise_conv2d/depthwise_kernel", (kernel, kernel, mid, 1)
    yield from norm(f"{scope}/tpu_batch_normalization{next(norms)}", mid)
    if squeeze:
        yield from biased(f"{scope}/se/conv2d", (1, 1, mid, width // 4), KERAS)
        yield from biased(f"{scope}/se/conv2d_1", (1, 1, width // 4, mid), KERAS)
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


def scaled(
    stages: Stages,
    width: float,
    depth: float,
    *,
    keep_ends: bool = False,
    rounding: Callable[[float], int] = rounded,
) -> Stages:
    """Scale widths and repeats; EfficientNet-Lite keeps the repeats of its first and last stage."""
    found = []
    for number, (repeats, kernel, expansion, out, fused) in enumerate(stages):
        kept = keep_ends and number in (0, len(stages) - 1)
        count = repeats if kept else math.ceil(repeats * depth)
        found.append((count, kernel, expansion, rounding(out * width), fused))
    return found


# ---- MNasNet and MixNet of tensorflow/tpu ----


class Counted:
    """Names of convolutions as Keras counts them over a whole network, whatever part they are in."""

    def __init__(self, scope: str) -> None:
        self._scope = scope
        self._made: Counter[str] = Counter()

    def conv(self, part: str, shape: tuple[int, ...], kind: str = "conv2d") -> Variable:
        """Return the kernel of the next convolution of a kind."""
        number = self._made[kind]
        self._made[kind] += 1
        name = f"{kind}_{number}" if number else kind
        leaf = "depthwise_kernel" if kind.startswith("depthwise") else "kernel"
        return f"{self._scope}/{part}/{name}/{leaf}", shape

    def biased(self, part: str, shape: tuple[int, ...]) -> Iterator[Variable]:
        """Yield kernel and bias of the next convolution."""
        name, _ = self.conv(part, shape)
        yield from biased(name.rpartition("/")[0], shape, KERAS)

    def grouped(self, part: str, width: int, out: int, groups: int) -> Iterator[Variable]:
        """Yield the kernels of a 1x1 convolution in groups."""
        for a, b in zip(split(width, groups), split(out, groups), strict=True):
            yield self.conv(part, (1, 1, a, b))


def split(channels: int, groups: int) -> list[int]:
    """Return the widths of groups: equal ones, the first with what is left over."""
    each = channels // groups
    return [channels - each * (groups - 1), *[each] * (groups - 1)]


Mixed = tuple[int, str, tuple[int, int], int, int, float]


def counted(model: str, prefix: str, widths: tuple[int, int], stages: list[Mixed]) -> Iterator[Variable]:
    """MNasNet and MixNet: the blocks first, then the stem, then the head.

    A stage is repeats, kernels ("3 5 7" mixes three), groups of the first and last 1x1 convolution,
    expansion, width, and the part of the block's input that squeeze-and-excitation keeps (0: it has none).
    `widths` are those of stem and head.
    """
    net = "mixnet_model" if model.startswith("mixnet") else "mnas_net_model"
    names = Counted(f"{model}/{net}")
    width, number = widths[0], 0
    for repeats, kernels, groups, expansion, out, squeeze in stages:
        for _ in range(repeats):
            part = f"{prefix}blocks_{number}"
            sizes = (width, width * expansion, out, int(width * squeeze))
            for variable in mixed_block(names, part, sizes, kernels, groups):
                yield (f"{model}/{variable[0]}", variable[1]) if variable[0].startswith(part) else variable
            width, number = out, number + 1
    for part, shape in (("stem", (3, 3, 3, widths[0])), ("head", (1, 1, width, widths[1]))):
        yield names.conv(f"{prefix}{part}", shape)
        yield from norm(f"{model}/{prefix}{part}/batch_normalization", shape[-1])
    yield from biased(f"{model}/{net}/{prefix}head/dense", (widths[1], CLASSES), KERAS)


def mixed_block(
    names: Counted, part: str, widths: tuple[int, int, int, int], kernels: str, groups: tuple[int, int]
) -> Iterator[Variable]:
    """Yield a block: (in, middle, out, squeezed). Norms are numbered within it and named from `part` on."""
    width, mid, out, squeezed = widths
    norms = iter(["", "_1", "_2"])
    if mid != width:
        yield from names.grouped(part, width, mid, groups[0])
        yield from norm(f"{part}/batch_normalization{next(norms)}", mid)
    sizes = [int(text) for text in kernels.split()]
    for kernel, channels in zip(sizes, split(mid, len(sizes)), strict=True):
        yield names.conv(part, (kernel, kernel, channels, 1), "depthwise_conv2d")
    yield from norm(f"{part}/batch_normalization{next(norms)}", mid)
    if squeezed:
        yield from names.biased(f"{part}/se", (1, 1, mid, squeezed))
        yield from names.biased(f"{part}/se", (1, 1, squeezed, mid))
    yield from names.grouped(part, mid, out, groups[1])
    yield from norm(f"{part}/batch_normalization{next(norms)}", out)


# ---- MobileNet of slim ----


def slim(scope: str, shape: tuple[int, ...], *, depthwise: bool = False) -> Iterator[Variable]:
    """Yield the variables of a convolution of tf.contrib.slim with batch normalisation."""
    yield f"{scope}/{'depthwise_' if depthwise else ''}weights", shape
    yield from norm(f"{scope}/BatchNorm", shape[2] if depthwise else shape[3])


def expanded(scope: str, widths: tuple[int, int, int], kernel: int, squeeze: int = 0) -> Iterator[Variable]:
    """Slim's expanded_conv: (in, middle, out)."""
    width, mid, out = widths
    if mid != width:
        yield from slim(f"{scope}/expand", (1, 1, width, mid))
    yield from slim(f"{scope}/depthwise", (kernel, kernel, mid, 1), depthwise=True)
    if squeeze:
        yield from biased(f"{scope}/squeeze_excite/Conv", (1, 1, mid, squeeze), SLIM)
        yield from biased(f"{scope}/squeeze_excite/Conv_1", (1, 1, squeeze, mid), SLIM)
    yield from slim(f"{scope}/project", (1, 1, mid, out))


def slim_v1(alpha: float) -> Iterator[Variable]:
    """MobilenetV1, `alpha` wide: widths are cut, not rounded to multiples of 8."""
    width = int(32 * alpha)
    yield from slim("MobilenetV1/Conv2d_0", (3, 3, 3, width))
    for number, wide in enumerate([64, 128, 128, 256, 256, *[512] * 6, 1024, 1024], 1):
        scope, out = f"MobilenetV1/Conv2d_{number}", int(wide * alpha)
        yield from slim(f"{scope}_depthwise", (3, 3, width, 1), depthwise=True)
        yield from slim(f"{scope}_pointwise", (1, 1, width, out))
        width = out
    yield from biased("MobilenetV1/Logits/Conv2d_1c_1x1", (1, 1, width, CLASSES), SLIM)


def slim_v2(alpha: float) -> Iterator[Variable]:
    """MobilenetV2, `alpha` wide; its last convolution never gets narrower."""
    width = rounded(32 * alpha)
    yield from slim("MobilenetV2/Conv", (3, 3, 3, width))
    for number, wide in enumerate([16, 24, 24, *[32] * 3, *[64] * 4, *[96] * 3, *[160] * 3, 320]):
        scope, out = f"MobilenetV2/expanded_conv{f'_{number}' if number else ''}", rounded(wide * alpha)
        yield from expanded(scope, (width, width * 6 if number else width, out), 3)
        width = out
    last = rounded(1280 * max(1.0, alpha))
    yield from slim("MobilenetV2/Conv_1", (1, 1, width, last))
    yield from biased("MobilenetV2/Logits/Conv2d_1c_1x1", (1, 1, last, CLASSES), SLIM)


def slim_v3(
    blocks: list[tuple[float, int, int, bool]], last: int, alpha: float = 1.0, *, minimal: bool = False
) -> Iterator[Variable]:
    """MobilenetV3: expansion, width, kernel, and whether it squeezes, of every block.

    Minimalistic ones have kernels of 3 and squeeze nothing. The convolution behind the pooling, `last` wide,
    keeps its width.
    """
    width = rounded(16 * alpha)
    yield from slim("MobilenetV3/Conv", (3, 3, 3, width))
    for number, (expansion, wide, kernel, squeezes) in enumerate(blocks):
        scope = f"MobilenetV3/expanded_conv{f'_{number}' if number else ''}"
        mid, out = rounded(width * expansion), rounded(wide * alpha)
        squeezed = rounded(mid / 4) if squeezes and not minimal else 0
        yield from expanded(scope, (width, mid, out), 3 if minimal else kernel, squeezed)
        width = out
    mid = rounded(width * 6)
    yield from slim("MobilenetV3/Conv_1", (1, 1, width, mid))
    yield from biased("MobilenetV3/Conv_2", (1, 1, mid, last), SLIM)
    yield from biased("MobilenetV3/Logits/Conv2d_1c_1x1", (1, 1, last, CLASSES), SLIM)
