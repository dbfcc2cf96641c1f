"""A training directory of the Model Garden is checked by the network that its settings describe."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from warm_frameworks import run_with_tensorflow

from porter.checks.check import Check, check_all_against_tensorflow
from porter.parity.outcome import Verdict
from porter.tables.shipped import load_tables

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

WRITER = Path(__file__).parent / "write_garden_training.py"
# What stands in params.yaml in place of what the Garden wrote.
EDITS = {
    "plain": ("norm_epsilon: 1.0e-05", "norm_epsilon: 1e-5"),
    "unknown": ("output_softmax: false", "output_softmax: false\n    of_a_later_garden: 3"),
}
BUILT = "TensorFlow ran the network of params.yaml, built by the Model Garden's task"


@pytest.fixture(scope="module")
def checked(module_folder):
    """Return the report of every edit of the settings, by name."""
    if find_spec("official") is None or find_spec("timm") is None:
        pytest.skip("needs tensorflow, tf-models-official and timm")
    written = module_folder("written")
    run_with_tensorflow(WRITER, written)
    variant = load_tables().variants["garden_mobilenetv2_035"]
    checks = []
    for name, (old, new) in EDITS.items():
        folder = shutil.copytree(written, module_folder(name) / "training")
        settings = folder / "params.yaml"
        assert settings.read_text().count(old) == 1
        settings.write_text(settings.read_text().replace(old, new))
        checks.append(Check(variant, sizes=((64, 64),), dtypes=("float64",), checkpoint=folder / "ckpt-1"))
    outcomes = check_all_against_tensorflow(checks)
    return {name: outcome.report for name, outcome in zip(EDITS, outcomes, strict=True)}


def test_garden_builds_the_network_of_the_settings(checked):
    """It agrees with the port, which has the settings' epsilon, and the report says who built it."""
    report = checked["plain"]
    (case,) = report.cases

    assert report.verdict is Verdict.PARITY
    assert case.worst < 1e-12
    assert len(case.stages) == 21
    assert any(note.startswith(BUILT) for note in report.notes)
    assert "tf-models-official" in report.expected.versions
    assert "the network of params.yaml" in report.expected.source


def test_setting_that_the_garden_does_not_know_is_named(checked):
    """The network of porter runs instead, and the report says why."""
    report = checked["unknown"]

    assert report.verdict is Verdict.PARITY
    assert not any(note.startswith(BUILT) for note in report.notes)
    (note,) = (note for note in report.notes if "of_a_later_garden" in note)
    assert "it ran model_garden.mobilenet" in note
