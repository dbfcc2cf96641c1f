"""Who of three witnesses is the outlier."""

from __future__ import annotations

import numpy as np
import pytest

from porter.parity.witnesses import compare_outputs, findings, summaries
from porter.recordings.recording import Provenance, Recording


def recording(framework, **stages):
    """Return a recording of one float64 run."""
    arrays = {
        name: np.array(values, dtype=np.float64).reshape(1, 1, 1, -1) for name, values in stages.items()
    }
    inputs = np.ones((1, 1, 1, 2))
    return Recording.from_arrays(inputs, arrays, layout="NCHW", framework=framework)


def witnesses(**changed):
    """Return three recordings with stages a and b; `changed` replaces stage b of some."""
    return {
        name: recording(name, a=[1.0, 2.0], b=changed.get(name, [3.0, 4.0]))
        for name in ("tensorflow", "torch", "onnx")
    }


def test_agreement_is_unanimous():
    """Three equal recordings name no outlier."""
    compared = compare_outputs(witnesses())

    assert [(t.stage, t.unanimous, t.outlier) for t in compared] == [("a", True, None), ("b", True, None)]
    assert findings(compared) == ()
    assert "all agree at 2 stages" in summaries(compared)[0]


@pytest.mark.parametrize("guilty", ["tensorflow", "torch", "onnx"])
def test_outlier_is_named(guilty):
    """Whoever the other two contradict is the outlier, at that stage and no other."""
    compared = compare_outputs(witnesses(**{guilty: [3.0, 4.1]}))
    (finding,) = findings(compared)

    assert [t.outlier for t in compared] == [None, guilty]
    assert finding.stage == "b"
    assert finding.look_at == f"the {guilty} side"
    assert f"{guilty} is the outlier at 1 of 2 stages, first at b" in summaries(compared)[0]


def test_three_opinions_convict_nobody():
    """Where no two agree there is no outlier, and that is said."""
    compared = compare_outputs(witnesses(torch=[3.0, 4.1], onnx=[3.0, 4.2]))

    assert compared[1].outlier is None
    assert not compared[1].unanimous
    assert "no two agree" in summaries(compared)[0]


def test_chain_of_agreement_convicts_nobody():
    """A agrees with B, B with C, A just not with C: rounding, not guilt."""
    bound = 1e-11 * 4
    compared = compare_outputs(witnesses(torch=[3.0, 4.0 + 0.7 * bound], onnx=[3.0, 4.0 + 1.4 * bound]))

    assert len(compared[1].agreeing) == 2
    assert compared[1].outlier is None


def test_another_shape_is_an_outlier():
    """A stage of another size cannot agree."""
    compared = compare_outputs(witnesses(onnx=[3.0, 4.0, 5.0]))

    assert compared[1].outlier == "onnx"


def test_stage_that_one_lacks_is_left_out():
    """There is nothing to compare where a witness is silent; the report says what is missing."""
    three = witnesses()
    three["onnx"] = Recording(Provenance("onnx", ""), (recording("onnx", a=[1.0, 2.0]).runs[0],))

    assert [t.stage for t in compare_outputs(three)] == ["a"]
