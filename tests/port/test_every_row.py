"""What the support table calls working is proved bit by bit, row by row."""

from __future__ import annotations

import test_every_kind
import test_keras_applications
import test_tensorflow1

from porter.tables.shipped import load_tables

# tests/targets/test_mobilevit.py, where transformers is installed.
ELSEWHERE = ["hf_mobilevit_xxs"]


def test_every_row_has_a_network_that_is_ported_bit_by_bit():
    """A family that is added needs a test in which TensorFlow writes a network of it."""
    variants = load_tables().variants
    tested = [
        *test_every_kind.NAMES,
        *test_keras_applications.NETWORKS,
        "keras_resnet50",  # test_bias_in_front_of_a_norm_goes_into_its_mean
        *test_tensorflow1.NETWORKS,
        "qubvel_efficientnet_b0",  # tests/port/test_efficientnet_package.py
        *ELSEWHERE,
    ]

    rows = {variant.title for variant in variants.values()}

    assert rows - {variants[name].title for name in tested} == set()
