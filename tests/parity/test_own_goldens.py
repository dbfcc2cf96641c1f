"""What TensorFlow said of a person's own weights is kept, and checks their port without TensorFlow."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ported_files import path_of
from safetensors import safe_open

import porter
from porter.checks.own_golden_check import check_all_against_own_golden
from porter.checks.own_goldens import _fitting
from porter.errors import OutputError, ParityError
from porter.parity.outcome import Verdict
from porter.recordings.activation import Activation
from porter.recordings.own_golden import LARGEST, OwnGolden
from porter.recordings.recording import Provenance, Recording, Run

Image = pytest.importorskip("PIL.Image", reason="needs the [torch] extra")

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

ROOT = Path(__file__).parent.parent.parent
FILES = ["right", "wrapped", "float16", "folded", "raw", "square", "epsilon", "float16_random"]
CHECK = "from porter.cli.parity_check import parity_check as p; p()"


@pytest.fixture(scope="module")
def golden(ports, module_folder):
    """The golden of the checkpoint, with one image, and the live check that it was made of."""
    folder = module_folder("golden")
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((400, 300)).save(folder / "photo.jpg")
    report = porter.record_golden(ports / "ckpt", folder / "own.golden", images=[folder / "photo.jpg"])
    return folder / "own.golden", report


@pytest.fixture(scope="module")
def checked(golden, ports):
    """Return the report of every file, by name: one process of PyTorch for all."""
    files = {path_of(ports, name): "timm" for name in FILES} | {ports / "transformers": "transformers"}
    reports = check_all_against_own_golden(files, golden[0])
    return dict(zip([*FILES, "transformers"], reports, strict=True))


def test_golden_is_small_and_says_what_it_is_of(golden, ports):
    """At most 400 KB; source, port and witness are in it, and the image as pixels of the network's size."""
    path, report = golden
    kept = OwnGolden.load(path)

    assert report.passed
    assert path.stat().st_size <= LARGEST
    sources = json.loads(kept.port["porter.source_files"])
    assert {source["name"] for source in sources} == {"ckpt.index", "ckpt.data-00000-of-00001"}
    assert all(len(source["sha256"]) == 64 for source in sources)
    assert kept.recording.provenance.source.startswith("keras.application(")
    assert any("stores no network" in note for note in kept.recording.provenance.notes)
    assert [len(image.pixels) for image in kept.inputs.images] == [224]
    with safe_open(path, framework="numpy") as file:
        assert json.loads(file.metadata()["porter.golden"])["port_sha256"] == kept.tensors.sha256()


@pytest.mark.parametrize("name", ["right", "wrapped", "transformers"])
def test_port_of_these_weights_is_parity(checked, name):
    """The file itself, the same state dict in a training script's .pth, and a transformers folder."""
    report = checked[name]

    assert report.verdict is Verdict.PARITY
    assert report.worst < 1e-11
    assert [case.size for case in report.cases] == [(96, 96), (192, 192), (224, 224)]


@pytest.mark.parametrize(
    ("name", "dtype", "most"), [("float16", "float16", 5e-3), ("folded", "float32", 1e-6)]
)
def test_rounded_port_is_judged_by_the_effect_of_rounding(checked, name, dtype, most):
    """Rounded or folded weights pass with as much tolerance as rounding needs, and the report says so."""
    report = checked[name]

    assert report.verdict is Verdict.PARITY
    assert 1e-11 < report.worst < most
    assert any(f"rounded to {dtype}" in note for note in report.outcome.notes)


def test_port_of_other_weights_is_a_failure(checked):
    """The raw weights in place of the averages: no parity, and one sentence says why."""
    report = checked["raw"]

    assert report.verdict is Verdict.NO_PARITY
    (finding,) = report.findings
    assert finding.cause == "other-weights"
    assert "the file is a port of other weights" in finding.evidence
    assert any("holds the weights as trained" in note for note in report.outcome.notes)


@pytest.mark.parametrize(
    ("name", "stage", "cause"),
    [
        ("square", "blocks.3.1", "kernel-layout"),
        ("epsilon", "stem", "other-arguments"),
        ("float16_random", "blocks.3.0", "changed-tensor"),
    ],
)
def test_sabotage_is_found_at_its_stage(checked, name, stage, cause):
    """A square kernel turned round, one epsilon, a tensor left random among rounded ones."""
    report = checked[name]

    assert report.verdict is Verdict.NO_PARITY
    assert report.first_bad_stage == stage
    assert report.findings[0].cause == cause
    assert report.findings[0].stage == stage


def test_other_head_is_refused_with_what_to_do(golden, ports):
    """A port with another number of classes is no port that this golden speaks of."""
    with pytest.raises(OutputError, match="golden recorded with those") as refused:
        porter.check(ported=ports / "head.safetensors", against=golden[0])

    assert refused.value.code == "check/does-not-fit"
    assert "classifier.weight is (7, 256), not (5, 256)" in str(refused.value)


def test_check_needs_no_tensorflow_and_no_checkpoint(golden, ports, tmp_path):
    """In CI: the port and the golden in a folder of their own, nothing imports TensorFlow or Keras."""
    shutil.copy(golden[0], tmp_path / "g")
    shutil.copy(ports / "right.safetensors", tmp_path)
    trap = tmp_path / "trap"
    for package in ("tensorflow", "tf_keras", "keras", "official"):
        (trap / package).mkdir(parents=True)
        (trap / package / "__init__.py").write_text(
            f"open({str(tmp_path / 'sprung')!r}, 'w'); raise ImportError"
        )
    paths = {"PYTHONPATH": os.pathsep.join([str(trap), str(ROOT)])}

    run = subprocess.run(
        [sys.executable, "-c", CHECK, "--ported", "right.safetensors", "--against", "g", "--json"],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, **paths},
    )  # fmt: skip

    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["verdict"] == "parity"
    assert not (tmp_path / "sprung").exists()


def test_file_that_carries_its_network_is_its_own_witness(ports, tmp_path):
    """A Keras file runs itself; what is chosen about the port is chosen for the golden, too."""
    report = porter.record_golden(ports / "model.keras", tmp_path / "g", seed=3, backbone_only=True)

    kept = OwnGolden.load(tmp_path / "g")
    assert any("the file's own network" in note for note in kept.recording.provenance.notes)
    assert [run.size for run in kept.recording.runs] == [(64, 64)]
    assert "logits" not in kept.stages
    assert kept.inputs.seed == 3
    porter.port(ports / "model.keras", tmp_path / "port.safetensors", backbone_only=True)
    assert porter.check(ported=tmp_path / "port.safetensors", against=tmp_path / "g").passed
    assert report.expected.provenance == kept.recording.provenance


@pytest.mark.parametrize("position", [0.02, 0.5, 0.98])
def test_damaged_golden_is_one_error(golden, tmp_path, position):
    """A byte that changed anywhere, and a file without its end, is damage of the golden, not of the port."""
    whole = bytearray(golden[0].read_bytes())
    for number, content in enumerate((whole[: int(len(whole) * position)], _flipped(whole, position))):
        (tmp_path / f"{number}").write_bytes(content)
        with pytest.raises(ParityError) as refused:
            OwnGolden.load(tmp_path / f"{number}")
        assert refused.value.code in ("golden/damaged", "golden/unreadable", "golden/not-a-golden")


def _flipped(whole, position):
    changed = bytearray(whole)
    changed[int(len(whole) * position)] ^= 1
    return changed


def test_only_a_golden_is_replaced(golden, ports):
    """Neither the checkpoint nor a port is overwritten; nothing of TensorFlow is started for that."""
    for name, code in (
        ("right.safetensors", "golden/other-file"),
        ("ckpt.index", "output/is-source"),
        ("shards", "output/is-directory"),
    ):
        before = (ports / "right.safetensors").stat()
        with pytest.raises(OutputError) as refused:
            porter.record_golden(ports / "ckpt", ports / name)
        assert refused.value.code == code
        assert (ports / "right.safetensors").stat() == before


def test_stages_are_sampled_until_the_golden_fits(golden):
    """However many stages a network has, the file stays within its limit; too many digests are refused."""
    kept = OwnGolden.load(golden[0])
    values = np.random.default_rng(0).random((1, 4, 40, 40))
    stages = {f"stage{number}": Activation.full(values, "NCHW") for number in range(160)}
    run = Run("float64", Activation.full(values, "NCHW"), stages)
    many = dataclasses.replace(kept, recording=Recording(Provenance("tensorflow", "x"), (run, _other(run))))

    content = _fitting(many, 0)

    assert len(content) <= LARGEST
    too_many = {f"stage{number}": Activation.full(values, "NCHW") for number in range(1500)}
    with pytest.raises(ParityError, match="too many stages"):
        _fitting(dataclasses.replace(many, recording=Recording(Provenance("x", "x"), (
            dataclasses.replace(run, stages=too_many),
        ))), 0)  # fmt: skip


def _other(run):
    return dataclasses.replace(run, input=Activation.full(np.zeros((1, 3, 41, 41)), "NCHW"))
