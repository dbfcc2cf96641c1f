"""Ports of many sources: each as it would be alone, what is there is left, what fails stops nothing else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from checkpoints.bundle_writer import Bundle
from cli.command_line import run

import porter
from porter.core.child_process import ChildProcess
from porter.errors import PorterError
from porter.outputs.many.names import output_names
from porter.outputs.many.processes import _Process
from porter.outputs.many.records import Task
from porter.outputs.output_options import OutputOptions
from porter.planning.port_options import PortOptions
from porter.recordings.random_checkpoint import RandomCheckpoint

ROOT = Path(__file__).parents[2]
VARIANT = "keras_mobilenetv1_025"


def stored(out, seed, **changed):
    """Write a small network with random weights, as TensorFlow would, and return its prefix."""
    weights = RandomCheckpoint(porter.load_tables().variant(VARIANT), seed=seed)
    bundle = Bundle()
    for key in weights.specs:
        bundle.put(key, changed.get("value", np.asarray)(np.asarray(weights.read(key))))
    out.parent.mkdir(exist_ok=True)
    bundle.store(out)
    return out


@pytest.fixture(scope="module")
def three(module_folder):
    """Three trainings, each with a checkpoint of the same name in a folder of its own."""
    folder = module_folder("sweep")
    return [stored(folder / name / "ckpt-1", seed) for seed, name in enumerate("abc")]


def statuses(result):
    """What became of each source."""
    return [port.status for port in result.ports]


def test_each_output_is_what_a_port_of_its_own_writes(three, tmp_path):
    """The same bytes under the right name, whichever process wrote them, options included."""
    result = porter.port_many(three, tmp_path / "out", parents=1, jobs=2, dtype="float16")

    assert result.passed
    assert [port.out.name for port in result.ports] == [f"{n}-ckpt-1.safetensors" for n in "abc"]
    for source, port in zip(three, result.ports, strict=True):
        porter.port(source, tmp_path / "alone.safetensors", dtype="float16")
        assert port.out.read_bytes() == (tmp_path / "alone.safetensors").read_bytes()


@pytest.mark.parametrize("form", [{}, {"target": "hub-folder"}, {"max_shard_size": "500kB"}])
def test_what_is_there_and_unchanged_is_left(three, tmp_path, form):
    """A second run writes nothing."""
    first = porter.port_many(three[:2], tmp_path, parents=1, **form)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    again = porter.port_many(three[:2], tmp_path, parents=1, **form)

    assert statuses(first) == ["ported", "ported"]
    assert statuses(again) == ["unchanged", "unchanged"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(
    "choice", [{"dtype": "float16"}, {"bn_eps": 0.5}, {"input_size": 96}, {"backbone_only": True}]
)
def test_another_choice_is_another_port(three, tmp_path, choice):
    """Whatever was chosen otherwise, the old file is replaced by what a port of its own writes."""
    porter.port_many(three[:1], tmp_path)

    (port,) = porter.port_many(three[:1], tmp_path, **choice).ports

    porter.port(three[0], tmp_path / "alone.safetensors", **choice)
    assert port.status == "ported"
    assert port.out.read_bytes() == (tmp_path / "alone.safetensors").read_bytes()


def test_another_source_porter_or_table_is_another_port(three, tmp_path, monkeypatch):
    """The digests decide, not names and times."""
    source = shutil.copytree(three[0].parent, tmp_path / "source") / "ckpt-1"
    (first,) = porter.port_many([source], tmp_path / "out").ports
    old = first.out.read_bytes()
    data = source.with_name("ckpt-1.data-00000-of-00001")
    times = data.stat()
    shutil.copytree(three[1].parent, source.parent, dirs_exist_ok=True)
    os.utime(data, ns=(times.st_atime_ns, times.st_mtime_ns))

    (second,) = porter.port_many([source], tmp_path / "out").ports
    version = second.out.read_bytes().replace(b'"porter.version":"', b'"porter.version":"9')
    version = (int.from_bytes(version[:8], "little") + 1).to_bytes(8, "little") + version[8:]
    second.out.write_bytes(version)
    (third,) = porter.port_many([source], tmp_path / "out").ports

    assert [second.status, third.status] == ["ported", "ported"]
    assert second.out.read_bytes() not in (old, version)


@pytest.mark.parametrize("broken", [b"", b"junk", None])
def test_what_is_no_whole_port_is_written_anew(three, tmp_path, broken):
    """A file that is cut short, or another, is no port that could be left."""
    (first,) = porter.port_many(three[:1], tmp_path).ports
    whole = first.out.read_bytes()
    first.out.write_bytes(whole[:-5] if broken is None else broken)

    (again,) = porter.port_many(three[:1], tmp_path).ports

    assert again.status == "ported"
    assert again.out.read_bytes() == whole


def test_folder_that_differs_is_not_replaced(three, tmp_path):
    """It may hold more than porter wrote."""
    porter.port_many(three[:1], tmp_path, target="hub-folder")

    (port,) = porter.port_many(three[:1], tmp_path, target="hub-folder", input_size=96).ports

    assert (port.status, port.error.code) == ("failed", "output/not-empty")


def test_failure_is_listed_and_the_others_are_ported(three, tmp_path):
    """With ``--keep-going`` every good source has its port; the exit code and the lines say what failed."""
    (tmp_path / "junk.h5").write_bytes(b"junk")
    sources = [three[0], tmp_path / "junk.h5", tmp_path / "nothing", three[1]]
    result = run("port-weights", *sources, "--out-dir", tmp_path / "o", "--keep-going", "--parents", 1)
    lines = [line for line in result.stderr.splitlines() if line.startswith("failed")]

    assert result.exit_code == 1
    assert len(lines) == 2
    assert any("checkpoint/not-found" in line and "nothing" in line for line in lines)
    assert result.stdout.splitlines()[-1].endswith(": 2 failed, 2 ported")
    assert len(list((tmp_path / "o").iterdir())) == 2


def test_without_keep_going_no_more_are_begun(three, tmp_path):
    """One process, the first fails: the others are listed as not begun, and are no success."""
    result = porter.port_many([tmp_path / "nothing", *three[:1]], tmp_path / "o", jobs=1)

    assert statuses(result) == ["failed", "not begun"]
    assert not result.passed
    assert list((tmp_path / "o").iterdir()) == []


def test_json_is_one_line_for_each_source_and_a_summary(three, tmp_path):
    """Every line is a document of its own."""
    result = run("port-weights", *three, "--out-dir", tmp_path, "--parents", 1, "--json")
    *ports, summary = map(json.loads, result.stdout.splitlines())

    assert result.exit_code == 0
    assert {port["source"] for port in ports} == set(map(str, three))
    assert all(port["status"] == "ported" and port["error"] is None for port in ports)
    assert summary["counts"] == {"ported": 3}


def test_dry_run_writes_nothing(three, tmp_path):
    """Not even the folder."""
    result = run("port-weights", *three, "--out-dir", tmp_path / "o", "--parents", 1, "--dry-run")

    assert result.exit_code == 0
    assert not (tmp_path / "o").exists()
    assert result.stdout.splitlines()[-1].endswith("3 planned")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a", "b", "c"], "unexpected extra argument (c)"),
        (["a", "--jobs", "2"], "go with --out-dir"),
        (["a", "a", "--out-dir", "o"], "a.safetensors: a, a"),
        (["x/a.h5", "y/a.h5", "b", "--out-dir", "o"], "--parents 1"),
        (["--out-dir", "o"], "Missing argument 'SOURCE'"),
        (["a", "--out-dir", "o", "--hub-folder", "h"], "--target hub-folder"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_written(arguments, says, tmp_path, monkeypatch):
    """Exit code 2, and no folder."""
    monkeypatch.chdir(tmp_path)

    result = run("port-weights", *arguments)

    assert result.exit_code == 2
    assert says in result.stderr
    assert not Path("o").exists()


def test_folder_that_cannot_be_written_is_refused_at_once(three, tmp_path):
    """A file in its place, and no source at all."""
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(porter.PorterError) as refused:
        porter.port_many(three[:1], tmp_path / "file")
    with pytest.raises(porter.PorterError) as empty:
        porter.port_many([], tmp_path / "o")

    assert (refused.value.code, empty.value.code) == ("output/not-a-folder", "output/no-source")


def test_outputs_are_called_after_their_sources(tmp_path, monkeypatch):
    """Endings of files go, those of folders and numbers of steps stay."""
    monkeypatch.chdir(tmp_path)
    Path("run.h5").mkdir()
    names = ["a/m.weights.h5", "model.ckpt-100", "c.index", "saved_model.pb", "run.h5", ".h5", "v1.2/../x."]

    found = output_names(list(map(Path, names)), suffix="")

    assert found == ["m", "model.ckpt-100", "c", "saved_model", "run.h5", ".h5", "x."]
    assert output_names([Path()], suffix="") == [tmp_path.name]


def test_process_that_dies_fails_its_own_port_alone(three, tmp_path):
    """As when the system runs out of memory; the next port has a new process."""
    task, process = Task(three[0], tmp_path / "o.safetensors", PortOptions(), OutputOptions()), _Process(1)
    assert process.port(task).passed
    process._child.kill()
    process._child.obituary()

    dead = process.port(task)
    again = process.port(task)
    process.end(at_once=False)
    process.close()

    assert (dead.status, dead.error.code, again.status) == ("failed", "output/process-died", "unchanged")
    assert "SIGKILL" in str(dead.error)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_run_leaves_no_process_and_nothing_half_written(three, tmp_path, how):
    """Whichever way the command ends, its processes end too, and every file that is there is whole."""
    sources = [shutil.copytree(three[0].parent, tmp_path / f"in{n}") / "ckpt-1" for n in range(40)]
    choices = ["--parents", "1", "--jobs", "2", "--target", "hub-folder"]
    words = [*sources, "--out-dir", tmp_path / "out", *choices]
    # A shell's background job ignores SIGINT, and its children inherit that.
    usual = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    program = usual + "from porter.cli.main import port_weights_main; port_weights_main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment, text=True,
    ) as command:  # fmt: skip
        command.stdout.readline()
        children = Path(f"/proc/{command.pid}/task").glob("*/children")
        workers = [pid for file in children for pid in file.read_text().split()]
        command.send_signal(how)
        command.communicate(timeout=30)
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)

    assert len(workers) == 2
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    written = list((tmp_path / "out").iterdir())
    assert 0 < len(written) < 40
    assert all(folder.name.startswith("in") and len(list(folder.iterdir())) == 3 for folder in written)


@pytest.mark.skipif(
    sys.platform != "linux", reason="Linux alone sends the signal of a parent's end more than once"
)
def test_signals_that_follow_do_not_end_the_tidying_up(three, tmp_path):
    """A parent that is killed sends one for each of its threads."""
    for _ in range(10):
        with ChildProcess("porter.outputs.many.worker", {}) as process:
            for name in ("whole", "begun"):
                shutil.rmtree(tmp_path / name, ignore_errors=True)
                task = Task(three[0], tmp_path / name, PortOptions(), OutputOptions(target="hub-folder"))
                process.ask(task.to_line()) if name == "whole" else process.say(task.to_line())
            while len(list(tmp_path.iterdir())) == 1:
                pass
            while process.exit_code() is None:
                os.kill(process.pid, signal.SIGTERM)

        assert {path.name for path in tmp_path.iterdir()} <= {"whole", "begun"}


def test_another_size_of_shards_is_another_port(three, tmp_path):
    """A folder that differs is refused, for it may hold more than a port; one that fits is left."""
    porter.port_many(three[:1], tmp_path, max_shard_size="500kB")

    (longer,) = porter.port_many(three[:1], tmp_path, max_shard_size="2MB").ports
    (shorter,) = porter.port_many(three[:1], tmp_path, max_shard_size="300kB").ports
    (same,) = porter.port_many(three[:1], tmp_path, max_shard_size="500kB").ports

    assert [longer.status, shorter.status, same.status] == ["failed", "failed", "unchanged"]


def test_sources_that_differ_in_their_ending_alone_are_told_so(tmp_path):
    """Names of folders would not tell them apart."""
    with pytest.raises(PorterError, match="ending") as refused:
        porter.port_many([tmp_path / "a.h5", tmp_path / "a.keras"], tmp_path / "out")
    assert refused.value.code == "output/same-name"
