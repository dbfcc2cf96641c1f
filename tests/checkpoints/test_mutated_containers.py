import random
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("h5py")
from container_mutations import damaged, sources

from porter.checkpoints import open_checkpoint
from porter.errors import CheckpointError

ROOT = Path(__file__).parent.parent.parent


def test_damage_to_containers_is_refused_or_harmless():
    """Each of 400 damaged Keras files and frozen graphs is refused by a code or read, and nothing else."""
    command = [sys.executable, ROOT / "benchmarks" / "fuzz_containers.py", "400", "1000000"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)

    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert "400 trials" in run.stdout


def outcome(path):
    """The code of the refusal, or how many tensors were read in the shape that the file promises."""
    try:
        with open_checkpoint(path) as checkpoint:
            return sum(checkpoint.read(key).shape == spec.shape for key, spec in checkpoint.specs.items())
    except CheckpointError as error:
        return error.code


def test_damage_is_contained_by_the_child_process(tmp_path):
    """A damaged HDF5 file ends in a refusal or in numbers through the child process that a user has."""
    path, sound = tmp_path / "full.h5", sources()["full.h5"]
    path.write_bytes(sound)
    whole = outcome(path)
    outcomes = []
    for seed in range(12):
        rng = random.Random(seed)  # noqa: S311  (repeatable damage, no secret)
        path.write_bytes(damaged(sound, rng))
        outcomes.append(outcome(path))

    assert whole > 0
    assert set(outcomes) != {whole}
    assert all(isinstance(found, str) or 0 < found <= whole for found in outcomes), outcomes


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "hdf5/library-crash"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGXCPU)", "hdf5/library-hang"),
    ],
)
def test_crash_of_the_hdf5_library_is_a_refusal(tmp_path, monkeypatch, program, code):
    """A child process that a signal ends, as a crash or a time limit does, refuses the file by a code."""
    from porter.formats.hdf5 import description

    (tmp_path / "child.py").write_text(program)
    (tmp_path / "full.h5").write_bytes(sources()["full.h5"])
    monkeypatch.setattr(description, "_CHILD", tmp_path / "child.py")

    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path / "full.h5")

    assert caught.value.code == code
