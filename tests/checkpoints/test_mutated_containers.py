import random
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("h5py")
from container_mutations import damaged, sources

from porter.checkpoints import open_checkpoint
from porter.errors import CheckpointError
from porter.formats.hdf5 import reader

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


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each file has a process of its own")
def test_one_process_for_many_files_outlives_those_that_break_the_library(tmp_path, monkeypatch):
    """A crash and a hang are refused by their codes, and the same process reads the files behind them."""
    path, sound = tmp_path / "full.h5", sources()["full.h5"]
    path.write_bytes(sound)
    alone = outcome(path)
    program = Path(reader._CHILD).read_text()
    breaks = (
        "    import signal\n"
        "    if size == 8: os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    if size == 9 and signal.alarm(0): os.kill(os.getpid(), signal.SIGALRM)\n"
    )
    heading = "def describe(descriptor: int, offset: int, size: int) -> dict[str, Any]:\n"
    (tmp_path / "child.py").write_text(program.replace(heading, heading + breaks))
    monkeypatch.setattr(reader, "_CHILD", tmp_path / "child.py")
    signature = sound[:8]

    with reader.one_reader():
        first, pid = outcome(path), reader._shared.get()._process.pid
        found = []
        for content in (signature, sound, signature + b"x", sound):
            path.write_bytes(content)
            found.append(outcome(path))
        assert reader._shared.get()._process.pid == pid
        reader._shared.get()._process.kill()
        found.append(outcome(path))

    assert first == alone
    assert found == ["hdf5/library-crash", alone, "hdf5/library-hang", alone, alone]
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "hdf5/library-crash"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGXCPU)", "hdf5/library-hang"),
    ],
)
def test_crash_of_the_hdf5_library_is_a_refusal(tmp_path, monkeypatch, program, code):
    """A child process that a signal ends, as a crash or a time limit does, refuses the file by a code."""
    (tmp_path / "child.py").write_text(program)
    (tmp_path / "full.h5").write_bytes(sources()["full.h5"])
    monkeypatch.setattr(reader, "_CHILD", tmp_path / "child.py")

    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path / "full.h5")

    assert caught.value.code == code
