"""A file that carries its network is checked by that network, not by one that porter builds."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from warm_frameworks import run_with_tensorflow

from porter.checks.check import Check, check_all_against_tensorflow
from porter.core.data_files import shipped_folder
from porter.errors import ParityError
from porter.parity.outcome import Verdict
from porter.runners.keras_files import from_config
from porter.tables.shipped import load_tables

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

WRITER = Path(__file__).parent / "write_contradicting_models.py"
GENERATIONS = ("tf_keras", "keras")
# What a file's own network does otherwise, by the first stage that it shows at.
CONTRADICTIONS = {
    ("tf_keras", "activation.keras"): "blocks.1.1",
    ("tf_keras", "stride.keras"): "stem",
    ("keras", "activation.keras"): "blocks.1.1",
}
FAITHFUL = [
    ("tf_keras", "pooling.keras"),  # the maximum over the image is an argument of timm's
    *(("tf_keras", name) for name in ("plain.h5", "saved", "frozen.pb", "pixels.keras", "one_epsilon.keras")),
    ("tf_keras", "code_in_front.keras"),
    ("keras", "code_in_front.h5"),
    *(("keras", name) for name in ("plain.keras", "saved", "one_epsilon.keras")),
]
WITH_CODE = ("tf_keras", "code.h5")
NARROW = ("tf_keras", "narrow.pb")
NARROW_UNCAPPED = ("tf_keras", "narrow_uncapped.pb")
FILES = [*CONTRADICTIONS, *FAITHFUL, WITH_CODE]
BOTH = ("float64", "float32")
OWN = "TensorFlow ran the file's own network"


def unrecorded(folder):
    """Write a table without records, so that planning does not refuse what a check is to find."""
    shipped = shipped_folder("mappings") / "keras" / "mobilenet.toml"
    own = folder / "own.toml"
    own.write_text(shipped.read_text().replace("[variant.keras_", "[variant.own_"))
    return own


@pytest.fixture(scope="module")
def checked(module_folder):
    """Return the report of every file, by generation and name: one process per framework for all."""
    if find_spec("tf_keras") is None or find_spec("timm") is None:
        pytest.skip("needs tensorflow, tf-keras and timm")
    folder = module_folder("models")
    for generation in GENERATIONS:
        run_with_tensorflow(WRITER, folder, generation)
    variant = load_tables(unrecorded(folder)).variant("own_mobilenetv1_025")
    wanted = {
        **{file: (file, ("float64",)) for file in FILES},
        **{file: (file, BOTH) for file in (NARROW, NARROW_UNCAPPED)},
    }
    checks = [
        Check(variant, dtypes=dtypes, checkpoint=folder / generation / name)
        for (generation, name), dtypes in wanted.values()
    ]
    outcomes = check_all_against_tensorflow(checks)
    return {name: outcome.report for name, outcome in zip(wanted, outcomes, strict=True)}


@pytest.mark.parametrize(("file", "stage"), CONTRADICTIONS.items(), ids=str)
def test_config_that_contradicts_the_table_is_no_parity(checked, file, stage):
    """The file's own network answers otherwise than the port, and the first stage that does is named."""
    report = checked[file]

    assert report.verdict is Verdict.NO_PARITY
    assert report.first_bad_stage == stage


@pytest.mark.parametrize("file", FAITHFUL, ids="/".join)
def test_unchanged_network_agrees_in_float64(checked, file):
    """Every stage of the file's own network agrees with the port, also where it takes pixels."""
    report = checked[file]
    (case,) = report.cases

    assert report.verdict is Verdict.PARITY
    assert case.worst < 1e-12
    assert [stage.name for stage in case.stages][:2] == ["input", "stem"]
    assert len(case.stages) == 16
    assert all(stage.local is not None for stage in case.stages[1:])


@pytest.mark.parametrize("file", [*CONTRADICTIONS, *FAITHFUL], ids="/".join)
def test_report_says_that_the_file_itself_ran(checked, file):
    """The notes tell whose network ran, by which Keras, at which size and how exact the float64 form is."""
    report = checked[file]
    generation, name = file
    stored = {"saved": "signature", "frozen.pb": "frozen graph"}.get(name, "Keras")

    assert any(note.startswith(f"{OWN} ({stored}") and "agrees with" in note for note in report.notes)
    assert any("64x64 pixels only" in note for note in report.notes)
    assert [case.size for case in report.cases] == [(64, 64)]
    if stored == "Keras":
        assert generation.replace("_", "-") in report.expected.versions
    assert not any("scales its images" in note for note in report.notes)


def test_float32_decides_where_an_operation_has_no_float64(checked):
    """The report names the operation; every stage is within the rounding that PyTorch shows."""
    report = checked[NARROW]
    (case,) = report.cases

    assert report.verdict is Verdict.PARITY
    assert (case.dtype, case.decides, len(case.stages)) == ("float32", True, 16)
    assert any(
        note.startswith(OWN) and "because LRN has no float64 kernel in TensorFlow: float32 decides" in note
        for note in report.notes
    )
    assert report.expected.lacks_float64


def test_float32_finds_a_contradiction_too(checked):
    """An activation without its cap is far beyond rounding, and its stage is named."""
    report = checked[NARROW_UNCAPPED]

    assert report.verdict is Verdict.NO_PARITY
    assert report.first_bad_stage == "blocks.1.1"


def test_code_in_a_file_is_not_run(checked):
    """A Lambda keeps the file from running; porter's network does instead, and the report says so."""
    report = checked[WITH_CODE]

    assert report.verdict is Verdict.PARITY
    assert not any(note.startswith(OWN) for note in report.notes)
    assert any("found Lambda" in note and "it ran keras.application" in note for note in report.notes)


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        ("tensorflow.python.ops.init_ops_v2", "ops"),
        ("tensorflow.python.ops.gen_io_ops", "Constant"),
        ("os", "system"),
    ],
)
def test_only_initialisers_of_tensorflow_are_taken_from_a_config(module, kind):
    """What else a module of TensorFlow's holds is code that a file asks for."""
    layer = {"class_name": "Dense", "config": {"kernel_initializer": {"module": module, "class_name": kind}}}

    with pytest.raises(ParityError) as refused:
        from_config(json.dumps(layer), Path("model.h5"))

    assert refused.value.code == "runner/code-in-file"
