"""Stages in a graph that nobody named for porter, and the constants in it."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from porter.runners.graph_stages import GraphStages
from porter.runners.stored_constants import intended
from porter.tables.variants import Stage


def graph(text):
    """Return nodes from lines ``name op input...``."""
    rows = (line.split() for line in text.strip().splitlines())
    return [SimpleNamespace(name=name, op=op, input=inputs) for name, op, *inputs in rows]


def stages(*names):
    """Return stages of these names."""
    return [Stage(name, "", (), "") for name in names]


RESIDUAL = """
x Placeholder
two Const
scaled Mul x two
k0 Const
r0 Identity k0
c0 Conv2D scaled r0
a0 Relu c0
p1 Pad a0 two
k1 Const
c1 Conv2D p1 k1
k2 Const
c2 Conv2D a0 k2
sum AddV2 c1 c2
a1 Relu sum
size Shape a1
m Mean a1 two
flat Reshape m size
k3 Const
d MatMul flat k3
b AddV2 d two
y Softmax b
"""


def test_stages_end_before_what_belongs_to_the_next():
    """A padding, a pooling and the classifier's activation are not in the stage before them."""
    found = GraphStages(graph(RESIDUAL), "x", ["y"]).find(
        stages("stem", "block", "logits"), {"k0": 0, "k1": 1, "k2": 1, "k3": 2}, ()
    )

    assert found.image == "scaled:0"
    assert found.stages == {"stem": "a0:0", "block": "a1:0", "logits": "b:0"}
    assert found.missing == ()


def test_stage_without_weights_is_the_pooling_after_the_one_before():
    """A stage of its own that pools ends behind the pooling."""
    found = GraphStages(graph(RESIDUAL), "x", ["y"]).find(
        stages("stem", "block", "pool", "logits"), {"k0": 0, "k1": 1, "k2": 1, "k3": 3}, {2}
    )

    assert found.stages["block"] == "a1:0"
    assert found.stages["pool"] == "m:0"


def test_stage_that_a_path_goes_round_is_missing():
    """A skip connection past the whole stage leaves no single tensor; the others are found."""
    skipped = RESIDUAL.replace("m Mean a1 two", "n AddV2 a1 a0\nm Mean n two")

    found = GraphStages(graph(skipped), "x", ["y"]).find(
        stages("stem", "half", "block", "logits"), {"k0": 0, "k1": 1, "k2": 2, "k3": 3}, ()
    )

    assert found.missing == ("half",)
    assert found.stages["block"] == "n:0"


def test_output_that_does_not_depend_on_the_weights_is_none():
    """Nothing is found where the network's output comes from elsewhere."""
    assert GraphStages(graph(RESIDUAL), "x", ["a0"]).find(stages("logits"), {"k3": 0}, ()) is None


@pytest.mark.parametrize(
    "number", [0.001, 1e-5, 0.16667, 1 / 6, 1 / 255, 1 / 127.5, -3.0, 96**-0.5, 20**0.5, 0.0]
)
def test_constant_is_the_number_that_was_written(number):
    """float32 holds a rounded form; float64 networks have the number itself."""
    assert intended(float(np.float32(number))) == pytest.approx(number, rel=1e-15)


@pytest.mark.parametrize("number", [0.7071067811865476, 0.044715, math.pi / 7])
def test_other_constants_stay_as_they_are_stored(number):
    """TensorFlow's GELU rounds its constants in float64 networks too; and nothing is made up."""
    stored = float(np.float32(number))

    assert intended(stored) == stored
