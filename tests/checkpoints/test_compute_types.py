"""Keras layers that compute in a narrow type: the port computes in another, and says so."""

from __future__ import annotations

import json

import pytest

from porter.checkpoints.keras.config import parse_config
from porter.checkpoints.keras.wrappers import remarks


def _policy(name):
    return {"class_name": "Policy", "config": {"name": name}}


@pytest.mark.parametrize(
    ("dtype", "told"),
    [
        ("float32", None),
        ("float64", None),
        (None, None),
        (_policy("float32"), None),
        (_policy("mixed_float16"), "float16"),
        (_policy("mixed_bfloat16"), "bfloat16"),
        ("float16", "float16"),
    ],
)
def test_a_narrow_policy_is_told(dtype, told):
    """Its rounding is the source's own, and no port has it."""
    layer = {"class_name": "ReLU", "config": {"name": "r", "dtype": dtype}}
    model = {"class_name": "Sequential", "config": {"name": "s", "layers": [layer, layer]}}

    found = list(remarks(parse_config(json.dumps(model))))

    assert [f"2 layers of the source compute in {told}:" in text for text in found] == [True] * bool(told)
