"""A stage whose layers cannot be recomputed is left to the patterns, never guessed at and never a crash."""

from __future__ import annotations

import numpy as np
import pytest

from porter.diagnosis.recipes import Conventions, StageFacts, program
from porter.diagnosis.refitting import refit
from porter.diagnosis.symptoms import Side, Symptom

CONVENTIONS = Conventions("relu", "sigmoid", "relu", "same", 1e-3)
NORM = {"norm.weight": np.ones(8), "norm.bias": np.zeros(8)}
TOKENS = {"cls_token": np.ones((1, 1, 8))}
DENSE = {"classifier.weight": np.ones((5, 8)), "classifier.bias": np.zeros(5)}


def symptom(shape):
    """A stage that got random input of that shape and gave something else."""
    rng = np.random.default_rng(0)
    sides = [Side(rng.normal(size=(1, 5)), None, (1, 5)) for _ in range(2)]
    return Symptom("head", "float64", rng.normal(size=shape), *sides, {}, None)


@pytest.mark.parametrize("weights", [NORM, TOKENS])
def test_layer_of_an_unknown_kind_has_no_program(weights):
    """Layer normalisation and bare tensors are in no recipe."""
    assert program(StageFacts(("norm",), weights, 1, same_shape=True, epsilons={}), CONVENTIONS) is None


@pytest.mark.parametrize("shape", [(1, 8, 4, 4), (1, 8), (1, 8, 1, 1), (1, 16, 8), (1, 3, 4, 4)])
def test_stage_of_another_shape_is_not_recomputed(shape):
    """Where the shapes do not fit what the names suggest, nothing is claimed."""
    block = StageFacts(("classifier",), DENSE, 1, same_shape=False, epsilons={})

    assert refit(symptom(shape), block, DENSE, 1e-3) is None
