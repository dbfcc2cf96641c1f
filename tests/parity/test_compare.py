"""Two recordings to a report: pairing, deciding, both columns, and what is missing or extra."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from porter.parity.compare import compare
from porter.parity.outcome import SCHEMA, SCHEMA_VERSION, Status, Verdict
from porter.parity.tolerances import NOISE_FACTOR, NOISE_FLOOR, StageTolerance, Tolerances
from porter.recordings.activation import Activation
from porter.recordings.recording import Provenance, Recording, Run

RNG = np.random.default_rng(2)
INPUT = RNG.standard_normal((2, 8, 8, 3))
STAGES = {
    "stem": RNG.standard_normal((2, 4, 4, 6)),
    "block": RNG.standard_normal((2, 2, 2, 6)),
    "logits": RNG.standard_normal((2, 5)),
}


def wrap(arrays, layout="NHWC"):
    """Full activations by name."""
    return {name: Activation.full(values, layout) for name, values in arrays.items()}


def reference(stages=STAGES, dtype="float64", inputs=INPUT):
    """A run of the reference, channels last."""
    return Run(dtype, Activation.full(inputs, "NHWC"), wrap(stages))


def other(changes=None, local=None, dtype="float64", stages=STAGES):
    """A run of the other side, channels first, with `changes` added to stages and `local` to local ones."""

    def moved(values):
        return values.transpose(0, 3, 1, 2) if values.ndim == 4 else values

    def column(added):
        return wrap({n: moved(v) + (added or {}).get(n, 0.0) for n, v in stages.items()}, "NCHW")

    inputs = Activation.full(moved(INPUT), "NCHW")
    return Run(dtype, inputs, column(changes), column(local) if local is not None else {})


def recording(*runs, framework="tensorflow", notes=()):
    """A recording of the runs."""
    return Recording(Provenance(framework, "a network", notes=notes), runs)


def test_equal_recordings_are_in_parity():
    """Layouts apart, the same numbers are parity, input and every stage."""
    report = compare(recording(reference()), recording(other(local={}), framework="torch"))

    assert report.verdict is Verdict.PARITY
    assert report.passed
    assert [stage.name for stage in report.cases[0].stages] == ["input", "stem", "block", "logits"]
    assert report.cases[0].stages[1].local.passed
    assert report.first_bad_stage is None
    assert (report.cases[0].size, report.cases[0].batch) == ((8, 8), 2)


def test_local_column_names_the_guilty_stage():
    """The fault sits in the block; the propagated column is off from the stem on for another reason."""
    changes = {"stem": 1e-9, "block": 1e-2, "logits": 1e-2}

    report = compare(recording(reference()), recording(other(changes, local={"block": 1e-2})))

    assert report.verdict is Verdict.NO_PARITY
    assert report.first_bad_stage == "block"
    assert report.cases[0].stages[1].propagated.status is Status.OVER


def test_without_a_local_column_the_first_bad_stage_counts():
    """A golden has no inputs of stages: the first one that deviates is named."""
    report = compare(recording(reference()), recording(other({"block": 1e-2, "logits": 1e-2})))

    assert report.first_bad_stage == "block"
    assert report.cases[0].stages[2].local is None


def test_input_is_compared_first():
    """Different inputs are the first bad stage, so that no network is blamed for them."""
    report = compare(recording(reference(inputs=INPUT + 1e-3)), recording(other()))

    assert report.first_bad_stage == "input"


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [(STAGES, {"stem": STAGES["stem"]}, Status.MISSING), ({"stem": STAGES["stem"]}, STAGES, Status.EXTRA)],
)
def test_missing_and_extra_stages_fail(first, second, status):
    """A stage that only one side has is listed and fails the check."""
    report = compare(recording(reference(first)), recording(other(stages=second)))

    assert report.verdict is Verdict.NO_PARITY
    assert [stage.propagated.status for stage in report.cases[0].stages[2:]] == [status, status]


def test_stages_can_be_chosen():
    """A person may compare a part; a name that neither side has still fails."""
    expected, actual = recording(reference()), recording(other({"stem": 1.0}))

    assert compare(expected, actual, stages=["block", "logits"]).passed
    assert not compare(expected, actual, stages=["block", "nonsense"]).passed


@pytest.mark.parametrize("swap", [False, True])
def test_missing_run_fails(swap):
    """A size that only one side has run is not parity."""
    small = reference({"stem": STAGES["stem"][:, :2]}, inputs=INPUT[:, :4])
    first, second = recording(reference(), small), recording(other())
    if swap:
        first, second = recording(reference()), recording(other(), small)

    report = compare(first, second)

    assert report.verdict is Verdict.NO_PARITY
    assert len(report.cases) == 2


def test_nothing_compared_is_no_parity():
    """Recordings without runs or stages do not pass."""
    assert compare(recording(), recording()).verdict is Verdict.NOTHING
    assert not compare(recording(reference({})), recording(other(stages={}))).passed


def test_float64_decides_and_float32_informs():
    """A float32 deviation beyond its bound is shown, and does not change the verdict."""
    narrow = {n: v.astype(np.float32) for n, v in STAGES.items()}
    expected = recording(reference(), reference(narrow, "float32"))
    actual = recording(other(), other({"logits": np.float32(0.1)}, dtype="float32", stages=narrow))

    report = compare(expected, actual)

    assert report.verdict is Verdict.PARITY
    assert [case.decides for case in report.cases] == [True, False]
    assert not report.cases[1].passed
    assert report.cases[1].first_bad_stage.name == "logits"


def narrowed(dtype="float32"):
    """The stages as float32 numbers hold them: also what a bfloat16 or unknown type is kept as."""
    return {n: v.astype(dtype if dtype in ("float16", "float32") else "float32") for n, v in STAGES.items()}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "tf32"])
@pytest.mark.parametrize("error", [0.0, 4.2e-4, 1.0])
def test_no_verdict_without_float64(dtype, error):
    """A fault of 4.2e-4 hides below what rounding may do, so neither it nor its absence is a verdict."""
    stages = narrowed(dtype)
    changes = {"logits": (error * np.abs(STAGES["logits"]).max()).astype(stages["logits"].dtype)}

    report = compare(
        recording(reference(stages, dtype)), recording(other(changes, dtype=dtype, stages=stages))
    )

    assert report.verdict is Verdict.UNDECIDED
    assert not report.passed
    assert report.first_bad_stage is None
    assert f"only {dtype} was compared" in report.undecided
    assert report.to_json()["verdict"] == "not decidable"
    assert report.to_json()["undecided"] == report.undecided


def test_every_size_needs_no_float64_if_one_has_it():
    """A float64 pair decides, and float32 of another size informs beside it."""
    small = {name: values[:, :2].astype(np.float32) for name, values in STAGES.items()}
    sides = [
        recording(run, Run("float32", Activation.full(INPUT[:, :4].astype(np.float32), "NHWC"), wrap(small)))
        for run in (reference(), reference())
    ]

    report = compare(*sides)

    assert report.verdict is Verdict.PARITY
    assert [case.decides for case in report.cases] == [True, False]


@pytest.mark.parametrize("fault", ["missing", "nan", "input"])
def test_what_rounding_cannot_explain_fails_without_float64(fault):
    """Another input, a missing stage and a NaN are no matter of precision."""
    stages = narrowed()
    actual = other(
        dtype="float32", stages=stages, changes={"stem": np.float32(np.nan)} if fault == "nan" else {}
    )
    if fault == "missing":
        actual = other(dtype="float32", stages={"stem": stages["stem"], "block": stages["block"]})
    expected = reference(stages, "float32", inputs=INPUT + (fault == "input"))

    report = compare(recording(expected), recording(actual))

    assert report.verdict is Verdict.NO_PARITY
    assert report.undecided is None
    assert report.first_bad_stage == {"missing": "logits", "nan": "stem", "input": "input"}[fault]


@pytest.mark.parametrize("narrow_side", ["expected", "actual"])
def test_float64_on_one_side_alone_does_not_decide(narrow_side):
    """The pair is as precise as its narrower side, whichever that is."""
    narrow = narrowed()
    if narrow_side == "actual":
        report = compare(recording(reference()), recording(other(dtype="float32", stages=narrow)))
    else:
        report = compare(recording(reference(narrow, "float32")), recording(other()))

    assert report.verdict is Verdict.UNDECIDED
    assert report.cases[0].dtype == "float32"


def test_arrays_of_mixed_precision_are_as_precise_as_the_narrowest():
    """One float32 stage makes the run float32, wherever it stands."""
    stages = {**STAGES, "logits": STAGES["logits"].astype(np.float32)}

    made = Recording.from_arrays(INPUT, stages, layout="NHWC", framework="arrays")

    assert made.runs[0].dtype == "float32"
    assert compare(made, made).verdict is Verdict.UNDECIDED


def test_float32_bound_is_a_multiple_of_the_smaller_noise():
    """One side's large noise (TF32, bfloat16) does not widen the bound: it exceeds it."""
    noisy = {n: (v + RNG.standard_normal(v.shape) * 1e-6).astype(np.float32) for n, v in STAGES.items()}
    coarse = {n: (v + RNG.standard_normal(v.shape) * 1e-3).astype(np.float32) for n, v in STAGES.items()}
    expected = recording(reference(), reference(noisy, "float32"))
    actual = recording(other(), other(dtype="float32", stages=coarse))

    stage = compare(expected, actual).cases[1].stages[1]

    assert stage.noise.expected < stage.noise.actual / 100
    assert stage.propagated.tolerance == NOISE_FACTOR * stage.noise.expected
    assert stage.propagated.status is Status.OVER


def without_float64(fault=0.0, noise=1e-6):
    """Return a report on a reference that cannot compute in float64, against a side with fault and noise."""
    can_not = Provenance("tensorflow", "a network", lacks_float64="LRN has no float64 kernel")
    expected = Recording(can_not, (reference(dtype="float32"),))
    wide = other({"block": fault})
    narrow = other(dict.fromkeys(STAGES, noise) | {"block": fault + noise}, dtype="float32")
    return compare(expected, recording(wide, narrow, framework="torch"))


def test_float32_decides_where_the_reference_has_no_float64():
    """Rounding as large as the other side's own passes; what is larger is a fault of its stage."""
    good, bad = without_float64(), without_float64(fault=1e-4)

    assert [(case.dtype, case.decides) for case in good.cases] == [("float32", True)]
    assert good.verdict is Verdict.PARITY
    assert math.isnan(good.cases[0].stages[1].noise.expected)
    assert good.to_json()["cases"][0]["stages"][1]["noise"]["expected"] is None
    assert bad.verdict is Verdict.NO_PARITY
    assert bad.first_bad_stage == "block"


def test_noise_that_could_hide_a_fault_does_not_decide():
    """Reduced precision raises the other side's own noise; a bound that follows it would pass anything."""
    assert without_float64(noise=1e-3).verdict is Verdict.UNDECIDED


def test_nothing_decides_where_the_noise_of_neither_side_is_known():
    """Two float32 runs alone stay undecided, whatever the reason that there is no float64."""
    can_not = Provenance("tensorflow", "a network", lacks_float64="LRN has no float64 kernel")
    narrow = Recording(can_not, (reference(dtype="float32"),))

    report = compare(narrow, recording(other(dtype="float32"), framework="torch"))

    assert report.verdict is Verdict.UNDECIDED


def test_float32_bound_has_a_floor():
    """A stage that does not round at all still gets a few units in the last place."""
    exact = {n: v.astype(np.float32) for n, v in STAGES.items()}
    wide = {n: v.astype(np.float64) for n, v in exact.items()}

    report = compare(
        recording(reference(wide), reference(exact, "float32")),
        recording(other(stages=wide), other(dtype="float32", stages=exact)),
    )

    assert report.cases[1].stages[1].propagated.tolerance == NOISE_FLOOR


def test_exception_for_a_stage_holds_for_that_stage_alone():
    """A table's exception with its reason loosens one stage."""
    tolerances = Tolerances(stages={"block": StageTolerance(1.0, "a reason")})
    expected = recording(reference())

    assert compare(expected, recording(other({"block": 1e-3})), tolerances=tolerances).passed
    assert not compare(expected, recording(other({"stem": 1e-3})), tolerances=tolerances).passed


def test_json_states_schema_and_survives_strict_parsers():
    """The document has a version, and what does not exist is null instead of NaN."""
    report = compare(recording(reference()), recording(other(stages={"stem": STAGES["stem"]}), notes=("n",)))

    document = json.loads(json.dumps(report.to_json(), allow_nan=False))

    assert (document["schema"], document["schema_version"]) == (SCHEMA, SCHEMA_VERSION)
    assert document["verdict"] == "no parity"
    assert document["notes"] == ["n"]
    missing = document["cases"][0]["stages"][2]["propagated"]
    assert (missing["status"], missing["relative"], missing["worst"]) == ("missing", None, None)
    assert document["cases"][0]["worst_relative"] is None


def test_worst_of_a_case_is_nan_where_a_stage_could_not_be_compared():
    """The largest figure of a case does not hide a stage without one."""
    assert math.isnan(compare(recording(reference()), recording(other(stages={}))).cases[0].worst)
