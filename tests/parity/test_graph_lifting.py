"""A stored float32 graph computes in float64 what its program meant, or says which operation cannot."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from warm_frameworks import run_with_tensorflow

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def found():
    """Return what the child process found."""
    if find_spec("tensorflow") is None:
        pytest.skip("needs tensorflow")
    said = run_with_tensorflow(Path(__file__).with_name("lift_operations.py"))
    return json.loads(said.splitlines()[-1])


def test_slope_of_a_leaky_relu_is_the_number_that_was_written(found):
    """Its operation holds 0.2 as float32, which is 1.5e-8 off."""
    assert found["leaky"] == pytest.approx([-1.5 * 0.2, 0.25, -1e-3 * 0.2], rel=1e-15)


def test_operation_without_float64_is_named_if_it_is_needed(found):
    """What only other tensors need does not keep a part of the graph from float64."""
    assert found["whole"] == ["LRN"]
    assert found["part"] == []


def test_functions_that_xla_compiles_run_by_tensorflows_own_kernels(found):
    """Keras has each grouped convolution compiled, which in float64 takes 35 times as long."""
    assert found["compiled"] == [True, False]
