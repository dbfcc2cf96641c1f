"""A ported file is checked as it is on disk, and every tensor that is wrong is named."""

from __future__ import annotations

import json
import shutil

import pytest
from ported_files import LEFT_RANDOM, SWAPPED, TRANSPOSED, path_of
from safetensors.numpy import load_file, save_file

import porter
from porter.checks.check import Check, check_all_against_tensorflow, write_inputs
from porter.errors import OutputError, ParityError
from porter.parity.outcome import Verdict
from porter.runners.process import Child, wait_for

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

SIZES = ((64, 64),)
RIGHT = [
    *("right", "shards", "hub", "folded", "float16", "bfloat16", "wide", "bare", "round_trip"),
    *("pth", "wrapped", "averaged", "transformers"),
]
# The file, the cause and the tensor that is named first.
WRONG = {
    "transposed": ("kernel-layout", TRANSPOSED),
    "swapped": ("swapped-tensors", SWAPPED[1]),
    "random": ("not-loaded", LEFT_RANDOM),
    "raw": ("raw-for-average", "conv_stem.weight"),
    "float16_random": ("not-loaded", LEFT_RANDOM),
    "not_finite": ("not-finite", LEFT_RANDOM),
    "transformers_turned": ("kernel-layout", "mobilenet_v1.layer.13.convolution.weight"),
}


@pytest.fixture(scope="module")
def checked(ports):
    """Return the report of every file, by name: one process per framework for all."""
    names = [*RIGHT, *WRONG, "epsilon"]
    variant = porter.load_tables().variant("keras_mobilenetv1_025")
    checks = [
        Check(
            variant,
            SIZES,
            ("float64",),
            checkpoint=ports / "ckpt",
            ported=path_of(ports, name),
            target="transformers" if name.startswith("transformers") else "timm",
        )
        for name in names
    ]
    reports = [outcome.report for outcome in check_all_against_tensorflow(checks)]
    return dict(zip(names, reports, strict=True))


@pytest.mark.parametrize("name", RIGHT)
def test_right_file_is_parity(checked, name):
    """Whole, in shards, folded, rounded, without metadata: every stage agrees as a fresh port's does."""
    report = checked[name]

    assert report.verdict is Verdict.PARITY
    assert report.cases[0].worst < 1e-11
    assert report.findings == ()
    assert any("as it is on disk" in note for note in report.notes)
    assert not any("differ" in note or "but" in note for note in report.notes)


@pytest.mark.parametrize(("name", "dtype"), [("float16", "float16"), ("bfloat16", "bfloat16")])
def test_rounding_is_said(checked, name, dtype):
    """Where float64 ran other values than the file's, the report says why that is proved to be the same."""
    (note,) = [note for note in checked[name].notes if "unrounded" in note]

    assert f"rounded to {dtype}; " in note
    assert "stored in a wider type" in next(n for n in checked["round_trip"].notes if "unrounded" in n)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_tensor_is_named_with_its_cause(checked, name):
    """No parity, and the first finding is the tensor and what became of it."""
    report, (cause, tensor) = checked[name], WRONG[name]

    assert report.verdict is Verdict.NO_PARITY
    found = {finding.evidence.split()[0]: finding.cause for finding in report.findings}
    assert found[tensor] == cause
    if name != "raw":
        assert len(report.findings) == len(SWAPPED if name == "swapped" else [tensor])


def test_many_tensors_are_counted(checked):
    """Ten tensors are named, and the others in one line."""
    findings = checked["raw"].findings

    assert len(findings) == 11
    assert findings[-1].evidence.startswith("and ")
    assert "more: " in findings[-1].evidence


def test_wrong_epsilon_in_the_metadata_is_found(checked):
    """The file's own metadata decide its network, and the report says that they are not the source's."""
    report = checked["epsilon"]

    assert report.verdict is Verdict.NO_PARITY
    assert report.first_bad_stage == "stem"
    assert any("metadata say" in note and "1e-05" in note for note in report.notes)


def test_how_a_file_of_pytorch_was_read_is_said(checked):
    """Which of several dictionaries was taken, and what was cut off the names, stands in the notes."""
    assert any("under 'model_ema' were taken; it also holds 'model'" in n for n in checked["averaged"].notes)
    assert any("begin with 'module.'" in note for note in checked["wrapped"].notes)


def test_tensor_of_another_library_belongs_to_a_stage(checked):
    """A tensor under other names is named as the file names it, with the stage that it belongs to."""
    report = checked["transformers_turned"]

    assert report.first_bad_stage == report.findings[0].stage


def _refused(ports, ported, tmp_path, target="timm"):
    check = Check(
        porter.load_tables().variant("keras_mobilenetv1_025"),
        SIZES,
        ("float64",),
        checkpoint=ports / "ckpt",
        ported=ported,
        target=target,
    )
    job = check.job(write_inputs(check, tmp_path / "inputs"), tmp_path / "out", local=False)
    with pytest.raises(OutputError) as refused, Child("torch", job) as child:
        wait_for(child, [], 300)
    return refused.value


def test_other_names_are_refused(ports, tmp_path):
    """One refusal names the first five tensors that are missing."""
    tensors = load_file(ports / "right.safetensors")
    save_file({f"model.{name}": values for name, values in tensors.items()}, tmp_path / "other.safetensors")

    error = _refused(ports, tmp_path / "other.safetensors", tmp_path)

    assert error.code == "check/does-not-fit"
    assert len(error.details) == 6
    assert error.details[0].startswith("missing: ")
    assert error.details[-1] == f"and {2 * len(tensors) - 5} more"


@pytest.mark.parametrize(
    ("name", "target", "code", "words"),
    [
        ("head", "timm", "check/does-not-fit", "classifier.weight is (7, 256), not (5, 256)"),
        ("extra", "timm", "check/does-not-fit", "unexpected: extra.weight"),
        ("whole_numbers", "timm", "check/element-type", "found int8"),
        ("transformers", "timm", "check/other-library", "Give --target transformers."),
        ("right", "transformers", "check/other-library", "Leave --target out."),
        ("bare", "transformers", "check/does-not-fit", "under whose names"),
    ],
)
def test_file_that_does_not_fit_is_refused(ports, tmp_path, name, target, code, words):
    """Another head, a tensor too many, whole numbers, another library's names: one refusal says which."""
    error = _refused(ports, path_of(ports, name), tmp_path, target)

    assert error.code == code
    assert words in str(error)


def test_other_config_is_refused(ports, tmp_path):
    """A folder whose config.json builds another network is no port, whatever its tensors are."""
    folder = shutil.copytree(ports / "transformers", tmp_path / "folder")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "depth_multiplier": 0.5}))

    error = _refused(ports, folder, tmp_path, "transformers")

    assert error.code == "check/other-config"
    assert "depth_multiplier" in str(error)


def test_truncated_file_is_refused(ports, tmp_path):
    """A file without its end is damaged, whichever way it was ports."""
    for name in ("right.safetensors", "pth.pth"):
        whole = (ports / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])

        assert _refused(ports, tmp_path / name, tmp_path).code == "load/unreadable"


def test_file_without_a_source_is_refused(tmp_path):
    """There is nothing that a ported file could be held against without its checkpoint."""
    with pytest.raises(ParityError) as refused:
        porter.check("keras_mobilenetv1_025", ported=tmp_path / "model.safetensors")

    assert refused.value.code == "check/ported-alone"
