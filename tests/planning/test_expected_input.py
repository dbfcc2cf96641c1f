"""Mean, std and size from what a source says of its images, odd things included."""

from __future__ import annotations

import json

import numpy as np
import pytest

from porter.checkpoints.keras.config import parse_config
from porter.checkpoints.keras.layers import Layer
from porter.checkpoints.keras.stored_input import stored_input
from porter.core.stored_preprocessing import ChannelReversal, Normalization, Rescaling, StoredInput
from porter.planning.plan import plan
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables

TABLES = load_tables()
LAYER = {"class_name": "Rescaling", "config": {"name": "r", "scale": 0.5, "offset": [0.1, 0.2, 0.3]}}


def planned(name, stored):
    """Return the plan of random weights whose source says `stored` of its images."""
    checkpoint = RandomCheckpoint(TABLES.variants[name], 0)
    checkpoint.stored_input = stored
    return plan(checkpoint, TABLES, variant=name)


def described(*layers):
    """Return what the config of a Sequential says."""
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": list(layers)}}
    return stored_input(parse_config(json.dumps(config)), Layer(""))


@pytest.mark.parametrize(
    ("axes", "size", "unread"),
    [
        ((96, 64), (96, 64), ()),
        ((6144,), (96, 64), ()),
        ((64, 96), None, ("r (Reshape)",)),
        ((None, None), None, ("r (Reshape)",)),
    ],
)
def test_reshape_in_front_is_read_if_it_moves_no_pixel(axes, size, unread):
    """The axis of one channel is added to the map that was there; another map is named."""
    image = {"class_name": "InputLayer", "config": {"name": "i", "batch_shape": [None, *axes]}}
    reshape = {"class_name": "Reshape", "config": {"name": "r", "target_shape": [96, 64, 1]}}

    found = described(image, reshape)

    assert (found.size, found.unread) == (size, unread)


def test_steps_are_composed_in_order():
    """Scaling by 1/255 and then normalising is one mean and one std."""
    steps = (
        Rescaling("a", (1 / 255,), (0.0,)),
        Normalization("b", (0.1, 0.2, 0.3), (0.04, 0.09, 0.16)),
    )

    images = planned("mobilenetv4_conv_small", StoredInput(steps=steps)).input_spec

    np.testing.assert_allclose(images.mean, (0.1, 0.2, 0.3), rtol=1e-6)
    np.testing.assert_allclose(images.std, (0.2, 0.3, 0.4), rtol=1e-6)


def test_metadata_of_a_bgr_network_list_channels_as_rgb():
    """What the model does to its first channel, blue, is the last of mean and std."""
    step = Normalization("n", (255.0, 0.0, 127.5), (255.0**2, 510.0**2, 255.0**2))

    images = planned("keras_resnet50", StoredInput(steps=(ChannelReversal("r"), step))).input_spec

    assert images.channel_order == "bgr"
    assert images.mean == (0.5, 0.0, 1.0)
    assert images.std == (1.0, 2.0, 1.0)


def test_model_that_turns_no_colours_round_takes_them_as_they_come():
    """Whatever the published network takes: the note says what was concluded from the model's own layers."""
    step = Normalization("n", (255.0, 0.0, 127.5), (255.0**2, 510.0**2, 255.0**2))

    made = planned("keras_resnet50", StoredInput(steps=(step,)))

    assert made.input_spec.channel_order == "rgb"
    assert made.input_spec.mean == (1.0, 0.0, 0.5)
    assert any("although keras_resnet50 as published takes BGR" in note for note in made.notes)


@pytest.mark.parametrize(
    "step",
    [
        Rescaling("odd", (0.0,), (0.0,)),
        Rescaling("odd", (-1.0,), (0.0,)),
        Rescaling("odd", (1.0, 1.0), (0.0, 0.0)),
        Normalization("odd", tuple(range(12)), tuple(range(1, 13))),
    ],
)
def test_what_is_no_mean_and_std_is_reported(step):
    """A layer that no mean and std can say is named, and the table's stay."""
    usual = Rescaling("usual", (0.5, 0.25, 0.125), (0.0,))
    made = planned("mobilenetv4_conv_small", StoredInput(steps=(usual, step, usual)))

    assert made.input_spec == made.variant.input
    (note,) = [note for note in made.notes if "odd" in note]
    assert "the table's" in note


def test_images_that_are_not_square_are_reported():
    """The metadata has one number for the size, so that another shape is said."""
    made = planned("mobilenetv4_conv_small", StoredInput((96, 160), "a test"))

    assert made.input_spec.size == made.variant.input.size
    assert any("96x160" in note and "--input-size" in note for note in made.notes)


@pytest.mark.parametrize(
    "value", [None, "x", [], {}, {"items": "x"}, {"config": 1}, [[1], [2]], True, 1e999, [None]]
)
@pytest.mark.parametrize("key", ["scale", "offset", "batch_input_shape", "batch_shape"])
def test_odd_values_in_a_config_are_never_taken_for_numbers(key, value):
    """Whatever a damaged config says, a layer is read whole or named as not read."""
    layer = {"class_name": "Rescaling", "config": {**LAYER["config"], key: value}}
    found = described(layer)

    assert found.size is None
    if key in ("scale", "offset"):
        assert (found.steps, found.unread) == ((), ("r (Rescaling)",))
    else:
        assert found.steps == (Rescaling("r", (0.5,), (0.1, 0.2, 0.3)),)


def test_size_is_that_of_the_innermost_input():
    """A network inside another has an input of its own; augmentation and padding change nothing."""
    inner = {"class_name": "InputLayer", "config": {"name": "i", "batch_input_shape": [None, 64, 64, 3]}}
    nested = {"class_name": "Functional", "config": {"name": "n", "layers": [inner]}}
    outer = {"class_name": "InputLayer", "config": {"name": "o", "batch_shape": [None, 80, 80, 3]}}
    flip = {"class_name": "RandomFlip", "config": {"name": "f", "trainable": True}}

    found = described(outer, flip, nested)

    assert found.size == (64, 64)
    assert found.unread == ()


@pytest.mark.parametrize(("call", "unread"), [({}, ()), ({"training": True}, ("g (GaussianNoise)",))])
def test_noise_is_named_where_it_is_drawn_whatever_the_network_is_used_for(call, unread):
    """Called as in training, it changes images when the network predicts, too."""
    noise = {"class_name": "GaussianNoise", "config": {"name": "g", "trainable": True, "stddev": 0.5}}

    found = described(noise | {"inbound_nodes": [[["i", 0, 0, call]]]})

    assert found.unread == unread


def test_size_decides_whether_fixed_padding_is_same():
    """Keras's MobileNet pads (0, 1) in front of every strided convolution, SAME on even maps only."""
    name = "keras_mobilenetv1_025"
    checkpoint = RandomCheckpoint(TABLES.variants[name], 0)

    odd = plan(checkpoint, TABLES, input_size=50).variant
    assert odd.adjust["padding"] == {f"blocks.{n}.0.conv_dw": ((0, 1), (0, 1)) for n in (1, 2, 3, 4)}
    assert plan(checkpoint, TABLES, input_size=160).variant == plan(checkpoint, TABLES).variant
    assert any("multiples of 32 pixels" in note for note in plan(checkpoint, TABLES).notes)
    slim = RandomCheckpoint(TABLES.variants["slim_mobilenetv1_025"], 0)  # pads as SAME does
    as_same = plan(slim, TABLES, variant="slim_mobilenetv1_025", input_size=50)
    assert not as_same.variant.adjust
    assert not any("multiples of 32" in note for note in as_same.notes)
