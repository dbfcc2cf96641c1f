"""Whether a network takes pixels or scaled images is told from its first weights, or not told."""

from __future__ import annotations

import numpy as np
import pytest

import porter
from porter.planning.image_range import ImageRange, _nearer, image_range
from porter.tables.shipped import load_tables

VARIANT = load_tables().variant("keras_mobilenetv2_100")
PIXELS, SCALED = ImageRange.PIXELS, ImageRange.SCALED
TINY = "mlperf-tiny/benchmark/training"
RESNET = "image_classification/trained_models/pretrainedResnet"


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (f"{TINY}/{RESNET}.h5", PIXELS),
        (f"{TINY}/{RESNET}.tflite", PIXELS),
        (f"{TINY}/{RESNET}_quant.tflite", PIXELS),
        (f"{TINY}/visual_wake_words/trained_models/vww_96.h5", SCALED),
        (f"{TINY}/visual_wake_words/trained_models/vww_96_float.tflite", SCALED),
        (f"{TINY}/keyword_spotting/trained_models/kws_ref_model_float32.tflite", None),  # no images
        ("coral-tflite/mobilenet_v1_0.25_128_quant.tflite", SCALED),
        ("poets-frozen/retrained_graph.pb", None),  # its norms are written out
        ("nsfwjs-tfjs/model.json", SCALED),
        ("teachable-tfjs/model.json", SCALED),
    ],
)
def test_trained_networks_tell_which_images_they_take(real_checkpoints, file, expected):
    """MLPerf Tiny's ResNet was trained on pixels, and its 8-bit file says so; the others on scaled images."""
    with porter.open_checkpoint(real_checkpoints / file) as checkpoint:
        assert image_range(checkpoint, VARIANT, VARIANT.input) is expected


@pytest.mark.parametrize(
    ("pixels", "std", "expected"),
    [
        (0.5, 0.5, PIXELS),
        (60.0, 0.5, SCALED),
        (255.0, 1.0, SCALED),
        (10.0, 0.5, None),  # one is as far from 1 as the other
        (0.5, 1 / 255, None),  # the table's images are pixels themselves
        (0.0, 0.5, None),
        (np.inf, 0.5, None),
    ],
)
def test_only_what_is_clear_is_told(pixels, std, expected):
    """Given how the first layer answers to pixels, in standard deviations of what it was trained on."""
    assert _nearer(pixels, pixels / (255 * std)) is expected


def test_network_without_batch_norms_does_not_tell(real_checkpoints):
    """What is behind the first convolution of a vision transformer takes answers of any size."""
    transformer = load_tables().variant("garden_vit_tiny_patch16_224")
    with porter.open_checkpoint(real_checkpoints / f"{TINY}/{RESNET}.h5") as checkpoint:
        assert image_range(checkpoint, transformer, VARIANT.input) is None
