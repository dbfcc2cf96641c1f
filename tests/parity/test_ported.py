"""A ported file is checked as it is on disk, and every tensor that is wrong is named."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import porter
from porter.checks.check import Check, check_all_against_tensorflow, write_inputs
from porter.errors import OutputError, ParityError
from porter.parity.outcome import Verdict
from porter.runners.process import Child, wait_for

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

WRITER = Path(__file__).parent / "write_trained_mobilenet.py"
SIZES = ((64, 64),)
TRANSPOSED, LEFT_RANDOM = "blocks.1.0.conv_pw.weight", "blocks.3.0.bn1.weight"
SWAPPED = "blocks.3.1.bn1.weight", "blocks.3.1.bn1.bias"
TO_PTH = """
import sys, torch
from safetensors.torch import load_file
torch.save(load_file(sys.argv[1]), sys.argv[2])
"""
RIGHT = ["right", "shards", "folded", "float16", "bfloat16", "pth", "bare", "round_trip"]
# The file, the cause and the tensor that is named first.
WRONG = {
    "transposed": ("kernel-layout", TRANSPOSED),
    "swapped": ("swapped-tensors", SWAPPED[1]),
    "random": ("not-loaded", LEFT_RANDOM),
    "raw": ("raw-for-average", "conv_stem.weight"),
    "float16_random": ("not-loaded", LEFT_RANDOM),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A checkpoint and files that were ported from it, most of them spoilt."""
    if find_spec("tf_keras") is None or find_spec("timm") is None:
        pytest.skip("needs tensorflow, tf-keras and timm")
    folder = tmp_path_factory.mktemp("ported")
    run = subprocess.run([sys.executable, WRITER, folder], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    for name, options in {
        "right": {},
        "float16": {"dtype": "float16"},
        "bfloat16": {"dtype": "bfloat16"},
        "raw": {"weights": "raw"},
    }.items():
        porter.port(folder / "ckpt", folder / f"{name}.safetensors", **options)
    for name, option in {
        "folded.safetensors": ["--fold-bn"],
        "shards": ["--max-shard-size", "400KB"],
    }.items():
        command = ["-c", "from porter.cli.port_weights import port_weights as p; p()"]
        arguments = [sys.executable, *command, folder / "ckpt", folder / name, *option]
        subprocess.run(arguments, check=True, capture_output=True)
    subprocess.run(
        [sys.executable, "-c", TO_PTH, folder / "right.safetensors", folder / "pth.pth"], check=True
    )
    _spoil(folder)
    return folder


def _spoil(folder):
    tensors, metadata = load_file(folder / "right.safetensors"), _metadata(folder / "right.safetensors")
    half = load_file(folder / "float16.safetensors")
    rng = np.random.default_rng(1)
    random = rng.uniform(2, 4, tensors[LEFT_RANDOM].shape).astype(np.float32)
    first, second = SWAPPED
    weight = tensors[TRANSPOSED]
    turned = np.ascontiguousarray(weight.transpose(1, 0, 2, 3)).reshape(weight.shape)
    halved = {n: t.astype(np.float32) if t.dtype == np.float16 else t for n, t in half.items()}
    arguments = json.loads(metadata["porter.arguments"])
    (name,) = [name for name in arguments if "eps" in json.dumps({name: arguments[name]})]
    arguments[name] = {**arguments[name], "eps": 1e-5} if isinstance(arguments[name], dict) else 1e-5
    other_epsilon = {**metadata, "porter.arguments": json.dumps(arguments)}
    for name, (changed, says) in {
        "transposed": ({TRANSPOSED: turned}, metadata),
        "swapped": ({first: tensors[second], second: tensors[first]}, metadata),
        "random": ({LEFT_RANDOM: random}, metadata),
        "bare": ({}, None),
        "round_trip": (halved, metadata),
        "epsilon": ({}, other_epsilon),
        "float16_random": ({**half, LEFT_RANDOM: random.astype(np.float16)}, metadata),
    }.items():
        save_file({**tensors, **changed}, folder / f"{name}.safetensors", says)


def _metadata(path):
    with safe_open(path, framework="numpy") as opened:
        return opened.metadata()


def _path(folder, name):
    return next(iter(folder.glob(f"{name}.*")), folder / name)


@pytest.fixture(scope="module")
def checked(written):
    """Return the report of every file, by name: one process per framework for all."""
    names = [*RIGHT, *WRONG, "epsilon"]
    variant = porter.load_tables().variant("keras_mobilenetv1_025")
    checks = [
        Check(variant, SIZES, ("float64",), checkpoint=written / "ckpt", ported=_path(written, name))
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


def _refused(written, ported, tmp_path):
    check = Check(
        porter.load_tables().variant("keras_mobilenetv1_025"),
        SIZES,
        ("float64",),
        checkpoint=written / "ckpt",
        ported=ported,
    )
    job = check.job(write_inputs(check, tmp_path / "inputs"), tmp_path / "out", local=False)
    with pytest.raises(OutputError) as refused, Child("torch", job) as child:
        wait_for(child, [], 300)
    return refused.value


def test_other_names_are_refused(written, tmp_path):
    """One refusal names the first five tensors that are missing."""
    tensors = load_file(written / "right.safetensors")
    save_file({f"model.{name}": values for name, values in tensors.items()}, tmp_path / "other.safetensors")

    error = _refused(written, tmp_path / "other.safetensors", tmp_path)

    assert error.code == "check/does-not-fit"
    assert len(error.details) == 6
    assert error.details[0].startswith("missing: ")
    assert error.details[-1] == f"and {2 * len(tensors) - 5} more"


def test_truncated_file_is_refused(written, tmp_path):
    """A file without its end is damaged, whichever way it was written."""
    for name in ("right.safetensors", "pth.pth"):
        whole = (written / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])

        assert _refused(written, tmp_path / name, tmp_path).code == "load/unreadable"


def test_file_without_a_source_is_refused(tmp_path):
    """There is nothing that a ported file could be held against without its checkpoint."""
    with pytest.raises(ParityError) as refused:
        porter.check("keras_mobilenetv1_025", ported=tmp_path / "model.safetensors")

    assert refused.value.code == "check/ported-alone"
