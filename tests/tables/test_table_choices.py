"""What a table leaves to the person: the background class, and the order of the channels."""

from __future__ import annotations

import numpy as np
import pytest
from small_tables import VARIANT, head, made, ported

from porter.errors import PlanError

CLASSIFIER = """
[template.stem.rules]
conv = { target = "conv", kind = "conv2d", shape = "3 3 in out" }
[template.logits.rules]
"" = { target = "fc", kind = "dense", shape = "in out", bias = true }
"""
CLASSIFIER_BLOCKS = """
blocks = [
    { source = "backbone/stem", target = "stem", template = "stem", in = "channels", out = 4 },
    { source = "head/dense", target = "", stage = "logits", template = "logits", out = "classes" },
]
"""
BGR = 'channel_order = "bgr"'


def classifier(classes):
    """Random arrays of a stem and a classifier."""
    rng = np.random.default_rng(1)
    shapes = {"stem/conv/kernel": (3, 3, 3, 4), "dense/kernel": (4, classes), "dense/bias": (classes,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_background_class_is_kept_with_a_note_or_left_out(tmp_path):
    """1001 classes stay 1001 unless the person drops the first row of weight and bias."""
    text, arrays = head() + CLASSIFIER + VARIANT + CLASSIFIER_BLOCKS, classifier(1001)

    kept, whole = ported(tmp_path, text, arrays)
    dropped, fewer = ported(tmp_path, text, arrays, classes="drop-background")

    assert kept["fc.weight"].shape == (1001, 4)
    assert any("--classes drop-background" in note for note in whole.notes)
    assert whole.arguments["num_classes"] == 1001
    np.testing.assert_array_equal(dropped["fc.weight"], arrays["dense/kernel"][:, 1:].T)
    np.testing.assert_array_equal(dropped["fc.bias"], arrays["dense/bias"][1:])
    assert "num_classes" not in fewer.arguments
    assert not fewer.notes


def test_background_class_that_is_not_there_is_not_dropped(tmp_path):
    """Of 1000 classes none is background."""
    text = head() + CLASSIFIER + VARIANT + CLASSIFIER_BLOCKS
    with pytest.raises(PlanError, match="expected 1001 classes, found 1000") as caught:
        made(tmp_path, text, classifier(1000), classes="drop-background")

    assert caught.value.code == "plan/no-background"


def test_channels_of_bgr_networks_are_told_or_turned_round(tmp_path):
    """The order is stated, and turned on request; an RGB network is not turned."""
    text, arrays = head(images=BGR) + CLASSIFIER + VARIANT + CLASSIFIER_BLOCKS, classifier(5)

    kept, stored = ported(tmp_path, text, arrays)
    turned, rgb = ported(tmp_path, text, arrays, channel_order="rgb")

    assert (stored.channel_order, rgb.channel_order) == ("bgr", "rgb")
    assert any("BGR" in note for note in stored.notes)
    np.testing.assert_array_equal(kept["stem.conv.weight"], arrays["stem/conv/kernel"].transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(turned["stem.conv.weight"], kept["stem.conv.weight"][:, ::-1])
    with pytest.raises(PlanError, match="does not take BGR"):
        made(tmp_path, text.replace(BGR, ""), arrays, channel_order="rgb")
