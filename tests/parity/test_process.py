"""Every way a child process can fail gives one clear error, at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import porter
from porter.checks.check import Check, Handover, write_inputs
from porter.errors import (
    CheckpointError,
    MissingDependencyError,
    ParityError,
    PlanError,
    TableError,
    error_from_json,
    not_installed,
)
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.recordings.recording import Recording
from porter.runners import process
from porter.runners.job import Job, jobs_to_line
from porter.runners.process import Child, require, wait_for
from porter.tables.known_tables import Tables

pytestmark = pytest.mark.torch
STARTS_COLD = True


@pytest.fixture
def job(tables, tmp_path):
    """A small job for the torch child, with changes."""
    from dataclasses import replace

    pytest.importorskip("timm", reason="needs timm")
    check = Check(tables.variant("conv_small"), sizes=((33, 33),), dtypes=("float64",))
    inputs = write_inputs(check, tmp_path / "inputs")

    def make(**changes):
        return replace(check.job(inputs, tmp_path / "out", local=False), **changes)

    return make


def test_refusal_arrives_as_the_error_it_was(job):
    """A porter error in the child keeps its class, its code, its fields and its lines."""
    with pytest.raises(CheckpointError) as here:
        porter.open_checkpoint("/no/such/checkpoint")
    with (
        Child("torch", job(checkpoint="/no/such/checkpoint")) as child,
        pytest.raises(CheckpointError) as refused,
    ):
        wait_for(child, [], 120)

    assert refused.value.to_json() == here.value.to_json()
    assert str(refused.value) == str(here.value)
    assert refused.value.file == "/no/such/checkpoint"


def test_lines_of_a_refusal_stay_lines(job, tables, tmp_path):
    """What takes more than one line takes as many after its way through a pipe, and none is escaped."""
    other = RandomCheckpoint(tables.variant("conv_medium"), 0)
    wrong = plan_refusal(other, tables)

    again = error_from_json(json.loads(json.dumps(wrong.to_json())))

    assert isinstance(again, PlanError)
    assert str(again) == str(wrong)
    assert len(str(again).splitlines()) > 1
    assert r"\n" not in str(again)


def plan_refusal(checkpoint, tables):
    """The refusal of weights that belong to another network, as seen with one table entry alone."""
    variant = tables.variant("conv_small")
    with pytest.raises(PlanError) as refused:
        porter.plan(checkpoint, Tables({variant.name: variant}), variant=variant.name)
    return refused.value


def test_a_package_that_a_child_lacks_is_named(job, monkeypatch):
    """A module that is missing in the child alone is a missing dependency and no traceback."""
    traced = Path(__file__).parent.parent / "traced"
    monkeypatch.setenv("PYTHONPATH", str(traced))
    monkeypatch.setenv("HIDDEN_PACKAGES", "torchvision")

    with Child("torch", job()) as child, pytest.raises(MissingDependencyError) as refused:
        wait_for(child, [], 120)

    assert "torchvision is not installed" in str(refused.value)
    assert "pip install 'port-weights[torch]'" in str(refused.value)


def test_several_missing_packages_are_said_in_english():
    """One is not installed; two are not."""
    assert not_installed(["torch"]) == "torch is not installed"
    assert not_installed(["torch", "timm", "onnx"]) == "torch, timm and onnx are not installed"


def test_failure_gives_its_last_lines(job, tmp_path):
    """An exception in the child gives the exit code and the end of its traceback on one line."""
    (tmp_path / "inputs").write_bytes(b"not safetensors")

    with Child("torch", job()) as child, pytest.raises(ParityError) as failed:
        wait_for(child, [], 120)

    assert failed.value.code == "runner/torch-failed"
    assert "exit code 1" in str(failed.value)
    assert "SafetensorError" in str(failed.value)
    assert "\n" not in str(failed.value)


def test_crash_names_the_signal(job):
    """A child that is killed says by which signal."""
    with Child("torch", job(local=True)) as child:
        os.kill(child._process.pid, signal.SIGABRT)
        with pytest.raises(ParityError, match="killed by SIGABRT"):
            wait_for(child, [], 120)


def test_hanging_child_is_ended(job):
    """A child that does not answer in time is an error, and it is gone afterwards."""
    with Child("torch", job(local=True)) as child, pytest.raises(ParityError, match=r"within 0\.2 s"):
        wait_for(child, [], 0.2)

    assert child._process.returncode == -signal.SIGKILL


def test_failure_of_the_other_child_is_noticed_at_once(job):
    """While one framework works, the failure of the other ends the check."""
    with Child("torch", job(local=True)) as hanging, Child("torch", job(variant="nonsense")) as failing:
        with pytest.raises(TableError, match="nonsense"):
            wait_for(hanging, [failing], 600)

        assert hanging._process.poll() is None


def test_local_stages_follow_a_reference_that_grows(tables, tmp_path):
    """Runs of a reference that is only begun get their local column at once, the others when it is whole."""
    check = Check(tables.variant("conv_small"), sizes=((33, 33), (34, 34)), dtypes=("float64",))
    inputs = write_inputs(check, tmp_path / "both")
    both = check.job(inputs, tmp_path / "own", local=False)
    with Child("torch", both) as child:
        wait_for(child, [], 120)
    whole = Recording.load(tmp_path / "own")
    begun = tmp_path / "begun"
    Recording(whole.provenance, whole.runs[:1]).save(begun)

    with Child("torch", check.job(inputs, tmp_path / "out", local=True)) as child:
        child.name_reference(begun, whole=False)
        child.name_reference(tmp_path / "own")
        wait_for(child, [], 120)

    for run in Recording.load(tmp_path / "out").runs:
        assert list(run.local) == list(run.stages)


def test_a_reference_is_named_when_begun_and_again_when_whole(tmp_path):
    """A recording is whole once the next one is there or the source has ended."""
    first, second = (tmp_path / name for name in ("first", "second"))
    target = _Listener()
    handover = Handover(target, [first, second])

    handover.name_written()
    assert target.heard == []

    first.touch()
    handover.name_written()
    handover.name_written()
    assert target.heard == [("first", False)]

    second.touch()
    handover.name_written()
    handover.name_rest()
    assert target.heard == [("first", False), ("first", True), ("second", False), ("second", True)]


class _Listener:
    """Stands for the target's process and keeps what it is told."""

    def __init__(self):
        self.heard = []

    def name_reference(self, path, *, whole=True):
        self.heard.append((path.name, whole))


def test_children_do_not_import_from_the_current_folder(job, tmp_path, monkeypatch):
    """A file called torch.py where the user stands does not replace the framework."""
    (tmp_path / "torch.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)  # one that names the current folder asks for it

    with Child("torch", job()) as child:
        wait_for(child, [], 120)

    assert (tmp_path / "out").exists()


def test_missing_framework_says_what_to_install(monkeypatch):
    """Without the framework the error names the extra, before a process is started."""
    needs = (("tensorflow_is_not_here",), "pip install 'port-weights[tensorflow]'")
    monkeypatch.setitem(process._NEEDS, "tensorflow", needs)

    with pytest.raises(MissingDependencyError, match=r"pip install 'port-weights\[tensorflow\]'"):
        require("tensorflow")


def is_running(pid):
    """Whether a process is there, and not only its remains that nobody has asked for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_child_ends_with_a_parent_that_is_killed():
    """What a CI system kills leaves no framework running."""
    child = "import time; from porter.runners.job import serve; serve(lambda job: time.sleep(600))"
    job = Job("", "", "", (), (), "", 1)
    parent = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {child!r}], stdin=subprocess.PIPE)
child.stdin.write({jobs_to_line([job]).encode()!r})
child.stdin.flush()
time.sleep(3)
print(child.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        pid = int(running.stdout.readline())
        assert is_running(pid)
        running.kill()
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)

    assert not is_running(pid)
