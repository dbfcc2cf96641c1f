"""Definitions become timm models."""

from __future__ import annotations

import pytest

from porter.errors import OutputError
from porter.networks.definition import ADJUSTMENTS, parse

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def building():
    """The module that builds, with timm."""
    pytest.importorskip("timm", reason="needs timm")
    from porter.networks import building

    return building


def test_every_adjustment_has_a_function(building):
    """What a definition may name is what there is."""
    assert set(building.ADJUSTMENTS) == set(ADJUSTMENTS)


def test_class_takes_channels_as_they_are_given(building):
    """Nothing is rounded to multiples of eight, and arguments of the call override the definition's."""
    definition = parse(
        {
            "base": "MobileNetV3",
            "arch_def": [["ds_r1_k3_s1_c12"], ["ir_r1_k5_s2_e4_c21_se0.45"]],
            "arguments": {
                "stem_size": 11,
                "num_features": 50,
                "act_layer": "relu6",
                "se_layer": {"gate_layer": "hard_sigmoid", "force_act_layer": "relu", "rd_divisor": 8},
            },
        }
    )
    model = building.build("porter_tiny", definition, num_classes=5, in_chans=1, pad_type="same", bn_eps=0.01)

    assert tuple(model.conv_stem.weight.shape) == (11, 1, 3, 3)
    assert tuple(model.blocks[0][0].conv_pw.weight.shape) == (12, 11, 1, 1)
    assert tuple(model.blocks[1][0].conv_dw.weight.shape) == (48, 1, 5, 5)
    assert type(model.blocks[1][0].conv_dw).__name__ == "Conv2dSame"
    assert type(model.blocks[1][0].se.gate).__name__ == "Hardsigmoid"
    assert tuple(model.blocks[1][0].se.conv_reduce.weight.shape) == (24, 48, 1, 1)
    assert model.bn1.eps == 0.01
    assert type(model.bn1.act).__name__ == "ReLU6"
    assert tuple(model.blocks[1][0].conv_pwl.weight.shape) == (21, 48, 1, 1)
    assert tuple(model.classifier.weight.shape) == (5, 50)
    assert model.pretrained_cfg["architecture"] == "porter_tiny"


def test_stride_moves_into_the_first_convolution_of_a_bottleneck_only(building):
    """A ResNet of bottlenecks strides where the first ResNets did; one of basic blocks is refused."""
    adjust = ["stride_in_first_convolution"]

    model = building.build("porter_a", parse({"base": "resnet50", "adjust": adjust}))

    assert (model.layer3[0].conv1.stride, model.layer3[0].conv2.stride) == ((2, 2), (1, 1))
    with pytest.raises(OutputError) as refused:
        building.build("porter_b", parse({"base": "resnet18", "adjust": adjust}))
    assert refused.value.code == "network/adjustment"


def test_entry_point_is_adjusted(building):
    """A model of timm's own, with SAME padding that it has no argument for."""
    definition = parse({"base": "resnet18d", "adjust": ["same_padding", "same_pool_in_first_shortcut"]})

    with pytest.raises(OutputError, match="does not fit this network") as refused:
        building.build("porter_resnet18d", definition)
    model = building.build("porter_resnet50d", parse({"base": "resnet50d", "adjust": [*definition.adjust]}))

    assert refused.value.code == "network/adjustment"
    assert type(model.maxpool).__name__ == "MaxPool2dSame"
    assert type(model.layer1[0].downsample[0]).__name__ == "AvgPool2dSame"
    assert model.pretrained_cfg["architecture"] == "porter_resnet50d"


def test_timm_refusing_is_one_error(building):
    """What timm cannot build is named, with timm's own reason."""
    definition = parse({"base": "no_such_network"})

    with pytest.raises(OutputError, match="timm cannot build porter_x") as refused:
        building.build("porter_x", definition)

    assert refused.value.code == "network/not-built"


def test_pretrained_weights_are_refused(building):
    """Weights of timm's own belong to another function: they are never loaded behind one's back."""
    with pytest.raises(OutputError, match="has no weights to download"):
        building.build("porter_x", parse({"base": "resnet18"}), pretrained=True)
