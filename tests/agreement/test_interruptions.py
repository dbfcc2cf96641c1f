"""Whatever ends a run, the next one goes on, and no row is lost or there twice."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from agreement_rows import rows_of

import porter
from porter.agreement import agreeing
from porter.agreement.folder import RunFolder
from porter.core.child_process import ChildDiedError
from porter.errors import OutputError, PorterError
from porter.parity.row_files import finished_parts

pytestmark = pytest.mark.tensorflow

ONE_BY_ONE = porter.Engine(batch=1)
COMMAND = [sys.executable, "-m", "porter.cli.main", "agree"]
ROOT = Path(__file__).parents[2]


def rows(report):
    """Return the rows of a report."""
    return rows_of(report)


@pytest.fixture
def engines(monkeypatch):
    """Every local engine that is started."""
    started = []

    class Kept(agreeing.LocalEngine):
        def __init__(self, *args):
            super().__init__(*args)
            started.append(self)

    monkeypatch.setattr(agreeing, "LocalEngine", Kept)
    return started


def alive(engine):
    """Whether a process of an engine still runs."""
    found = []
    for worker in (worker for some in engine._workers for worker in some):
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.process.pid, 0)
            found.append(worker)
    return found


@pytest.mark.parametrize("stage", [0, 1])
def test_a_killed_worker_is_replaced(  # noqa: PLR0917  (fixtures)
    stage, source, ported, images, engines, undisturbed, tmp_path
):
    """Of either framework, in the middle: its part is done again, by another process."""
    killed = []

    def kill(done, _total):
        if done == 3:
            killed.append(engines[0]._workers[stage][0].process.pid)
            os.kill(killed[0], signal.SIGKILL)

    report = porter.agree(source, ported, images, out=tmp_path / "out", engine=ONE_BY_ONE, progress=kill)

    assert killed
    assert rows(report) == undisturbed


def test_images_that_kill_every_worker_are_named(source, ported, images, engines, tmp_path, monkeypatch):
    """Processes that die one after another on the same part end the run, which says where."""

    def dies(_process, request):
        if "part" in request:
            raise ChildDiedError("was killed by SIGKILL")
        return do(_process, request)

    process = porter.agreement.local_engine._Process
    do = process.do
    monkeypatch.setattr(process, "do", dies)
    monkeypatch.setattr(porter.agreement.local_engine, "_DEATHS", 2)

    with pytest.raises(PorterError, match="images 0 to 0") as refused:
        porter.agree(source, ported, images, out=tmp_path / "out", engine=ONE_BY_ONE)
    assert refused.value.code == "agree/worker-died"
    assert not alive(engines[0])


def test_an_interrupted_run_goes_on(source, ported, images, engines, undisturbed, tmp_path):
    """What is done is not done again, and no process is left."""

    def interrupt(done, _total):
        if done == 4:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        porter.agree(source, ported, images, out=out, engine=ONE_BY_ONE, progress=interrupt)
    assert not alive(engines[0])
    done = finished_parts(out / "parts-done")
    written = {number: (out / "parts-done" / f"{number:08}.jsonl").stat().st_mtime_ns for number in done}
    counted = []

    def look(left, _total):
        counted.append(left)
        for number, when in written.items():
            assert (out / "parts-done" / f"{number:08}.jsonl").stat().st_mtime_ns == when

    report = porter.agree(source, ported, images, out=out, engine=ONE_BY_ONE, progress=look)

    assert 4 <= len(done) < 10
    assert counted[0] == len(done) + 1
    assert rows(report) == undisturbed


def test_other_inputs_do_not_go_on(source, ported, images, tmp_path):
    """A folder with the rows of another run is refused, and stays as it is."""
    out = tmp_path / "out"
    porter.agree(source, ported, images, out=out)

    with pytest.raises(PorterError, match="batch") as refused:
        porter.agree(source, ported, images, out=out, engine=porter.Engine(batch=3))
    assert refused.value.code == "agree/other-run"
    assert (out / "rows.parquet").exists()


def test_images_that_changed_in_place_do_not_go_on(source, ported, images, tmp_path):
    """The same names and labels with other bytes are other data: the old figures are not theirs."""
    data, out = shutil.copytree(images, tmp_path / "data"), tmp_path / "out"
    porter.agree(source, ported, data, out=out)
    first, second = sorted(data.rglob("*.png"))[:2]
    first.write_bytes(second.read_bytes())

    with pytest.raises(PorterError, match="image files changed"):
        porter.agree(source, ported, data, out=out)


def test_a_run_that_was_refused_is_in_nobodys_way(source, ported, images, tmp_path):
    """It leaves no folder; one that stood there before takes the run that is meant."""
    for out in (tmp_path / "new", tmp_path / "old"):
        out.with_name("old").mkdir(exist_ok=True)
        with pytest.raises(PorterError, match=r"does not exist|no images"):
            porter.agree(source, ported, tmp_path / "nothing", out=out)
        (tmp_path / "list.txt").write_text("\n")
        with pytest.raises(PorterError, match="no images"):
            porter.agree(source, ported, tmp_path / "list.txt", out=out)
        assert out.exists() == (out.name == "old")

        assert porter.agree(source, ported, images, out=out).statistics.images == 10


def started(arguments, **options):
    """Start the command as a person does."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options,
    )  # fmt: skip


def test_ctrl_c_ends_the_command_and_the_same_command_goes_on(source, ported, images, undisturbed, tmp_path):
    """One line says so; no traceback."""
    out = tmp_path / "out"
    arguments = [source, ported, "--data", images, "--out", out, "--batch", 1]
    # A shell's background job ignores SIGINT, and its children inherit that.
    process = started(arguments, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    while process.poll() is None and not finished_parts(out / "parts-done"):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[1]

    if process.returncode:  # or else it was done before the signal came
        assert "the same command goes on" in told
        assert "Traceback" not in told
    assert rows(porter.agree(source, ported, images, out=out, engine=ONE_BY_ONE)) == undisturbed


def test_a_full_disk_is_said_and_the_run_goes_on_later(source, ported, images, undisturbed, tmp_path):
    """Nothing half-written is taken for a result."""
    out = tmp_path / "out"
    full = 20_000  # bytes that a file may have: what goes from process to process has more

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (full, full))

    arguments = [source, ported, "--data", images, "--out", out, "--batch", 1]
    process = started(arguments, preexec_fn=limit)
    told = process.communicate(timeout=120)[1]

    assert process.returncode == 1
    assert "[output/file-too-large]" in told
    assert "Traceback" not in told
    assert rows(porter.agree(source, ported, images, out=out, engine=ONE_BY_ONE)) == undisturbed


def test_two_runs_do_not_write_one_folder_at_once(source, ported, images, tmp_path):
    """The second would do what the first does; when the first has ended, it goes on."""
    with RunFolder(tmp_path / "out", "rows"), pytest.raises(OutputError, match="another run") as refused:
        porter.agree(source, ported, images, out=tmp_path / "out")

    assert refused.value.code == "agree/in-use"
    with RunFolder(tmp_path / "out", "rows"):
        assert (tmp_path / "out").is_dir()


def test_a_file_where_the_folder_should_be_is_named(source, ported, images, tmp_path):
    """It stays as it is."""
    (tmp_path / "out").write_text("a file")
    with pytest.raises(PorterError) as refused:
        porter.agree(source, ported, images, out=tmp_path / "out")

    assert refused.value.code == "output/not-a-folder"
    assert (tmp_path / "out").read_text() == "a file"


def test_the_folder_of_a_run_may_lie_among_the_images(source, ported, images, tmp_path):
    """What is written there is no data the next time: its table of rows would be."""
    data = shutil.copytree(images, tmp_path / "data")
    first, second = (porter.agree(source, ported, data, out=data / "out") for _ in range(2))

    assert first.rows.suffix == ".parquet"
    assert second.top1 == first.top1
    assert porter.agree(source, ported, data, out=tmp_path / "out").statistics.images == 10
    with pytest.raises(PorterError) as refused:
        porter.agree(source, ported, data, out=data)
    assert refused.value.code == "agree/out-in-data"
