"""Named changes to a finished timm model that make it compute what a TensorFlow network computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from timm.layers.classifier import ClassifierHead
from timm.models._efficientnet_blocks import SqueezeExcite
from torch import nn

from porter.errors import OutputError
from porter.networks.pre_activation import StridedPreActBottleneck
from porter.same_padding import AvgPool2dSame, emulate_same_padding
from porter.same_padding.averages import average_without_padding

Network = Any  # an nn.Module whose attributes are those of one timm class


def _average_without_padding(model: Network) -> None:
    """Averages that leave the padding out in every branch of an Inception block that pools."""
    blocks = [module for module in model.modules() if hasattr(module, "branch_pool")]
    if not blocks:
        raise OutputError("network/adjustment", "no block has a branch that pools")
    for block in blocks:
        average_without_padding(block)


def _biases_without_norm(model: Network) -> None:
    """Biases in the convolutions of a ResNetV2 that no norm follows: stem, shortcuts, a block's last one."""
    convolutions = [model.stem.conv]
    for stage in model.stages:
        convolutions += [block.conv3 for block in stage.blocks]
        convolutions += [block.downsample.conv for block in stage.blocks if block.downsample is not None]
    for convolution in convolutions:
        weight = convolution.weight
        convolution.bias = nn.Parameter(weight.new_zeros(convolution.out_channels))


def _linear_classifier(model: Network) -> None:
    """Classify with a linear layer, where timm has a 1x1 convolution."""
    rate = model.head.drop.p
    pool = model.head.global_pool.pool_type
    model.head = ClassifierHead(model.num_features, model.num_classes, pool_type=pool, drop_rate=rate)


def _linear_first_block(model: Network) -> None:
    """Take out the activation between the two halves of the first block (MobileNet-EdgeTPU)."""
    model.blocks[0][0].bn1.act = nn.Identity()


def _relu_in_squeeze_excite(model: Network) -> None:
    """Squeeze-and-excitation with ReLU inside, whatever the network's activation is."""
    for module in model.modules():
        if isinstance(module, SqueezeExcite):
            module.act1 = nn.ReLU(inplace=True)


def _same_max_pool(model: Network) -> None:
    """SAME padding in a ResNet's max pool alone (SimCLR); the convolutions pad by their kernels."""
    emulate_same_padding(model, include=["maxpool"])


def _same_padding(model: Network) -> None:
    """TensorFlow's SAME padding for classes of timm that have no ``pad_type`` (ResNet)."""
    emulate_same_padding(model)


def _same_pool_in_first_shortcut(model: Network) -> None:
    """Average over 2x2 with stride 1 in the first shortcut of a ResNet-D, where timm pools nothing.

    TensorFlow's networks pool whether the stride is 2 or 1; SAME counts no padding.
    """
    shortcut = model.layer1[0].downsample
    if not isinstance(shortcut[0], nn.Identity):
        raise OutputError("network/adjustment", "the first shortcut pools already")
    shortcut[0] = AvgPool2dSame(2, 1)


def _stem_as_wide_as_blocks(model: Network) -> None:
    """A stem of as many channels as the first bottleneck has inside, where timm's always has 64 (SimCLR)."""
    first = model.layer1[0]
    width, out = first.conv1.out_channels, first.conv3.out_channels
    model.conv1 = nn.Conv2d(model.conv1.in_channels, width, 7, stride=2, padding=3, bias=False)
    model.bn1 = type(model.bn1)(width, eps=model.bn1.eps)
    first.conv1 = nn.Conv2d(width, width, 1, bias=False)
    first.downsample[0] = nn.Conv2d(width, out, 1, bias=False)


def _stride_in_first_convolution(model: Network) -> None:
    """Halve a ResNet's resolution in the first 1x1 convolution of a bottleneck, as the first ResNets did."""
    for stage in (model.layer2, model.layer3, model.layer4):
        block = stage[0]
        if block.conv1.stride != (1, 1) or block.conv2.stride == (1, 1):
            raise OutputError("network/adjustment", "the stride is not in the second convolution")
        block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride


def _stride_in_last_block(model: Network) -> None:
    """Halve a ResNetV2's resolution in the last block of a stage, for the stage behind it."""
    for stage, following in pairwise(model.stages):
        first = following.blocks[0]
        stride = first.conv2.stride
        if stride == (1, 1):
            raise OutputError("network/adjustment", "the stride is not in a stage's first block")
        first.conv2.stride = first.downsample.conv.stride = (1, 1)
        stage.blocks[-1] = StridedPreActBottleneck(stage.blocks[-1], stride)


ADJUSTMENTS: Mapping[str, Callable[[Network], None]] = MappingProxyType(
    {
        "average_without_padding": _average_without_padding,
        "biases_without_norm": _biases_without_norm,
        "linear_classifier": _linear_classifier,
        "linear_first_block": _linear_first_block,
        "relu_in_squeeze_excite": _relu_in_squeeze_excite,
        "same_max_pool": _same_max_pool,
        "same_padding": _same_padding,
        "same_pool_in_first_shortcut": _same_pool_in_first_shortcut,
        "stem_as_wide_as_blocks": _stem_as_wide_as_blocks,
        "stride_in_first_convolution": _stride_in_first_convolution,
        "stride_in_last_block": _stride_in_last_block,
    }
)
