"""The port and the reading of every container, in a process that lacks what other systems lack."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from running import ROOT, run


@pytest.mark.parametrize("system", ["macos", "windows"])
def test_other_systems_give_the_same_bytes(sources, here, tmp_path, system):
    """Without Linux's own calls, and without POSIX's, every container is read and every port the same."""
    paths = os.pathsep.join([str(ROOT / "tests" / "traced"), str(ROOT)])

    found = run(sys.executable, sources, tmp_path / "out", PYTHONPATH=paths, OTHER_SYSTEM=system)

    assert found == here
    assert found["left over"] == []
    assert len({entry[0] for entry in found.values() if isinstance(entry, list) and entry}) >= 9


def test_files_are_read_as_utf8_whatever_the_system_prefers(sources, tmp_path):
    """No text is opened in the encoding of the machine, which on Windows is not UTF-8."""
    options = {"PYTHONWARNDEFAULTENCODING": "1", "PYTHONWARNINGS": "error::EncodingWarning:porter"}
    program = (
        "import sys, warnings; warnings.filterwarnings('error', category=EncodingWarning, module='porter');"
        f"sys.argv[1:] = [{str(sources)!r}, {str(tmp_path / 'out')!r}];"
        "import runpy; runpy.run_path('read_and_port.py', run_name='__main__')"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False,
        cwd=ROOT / "tests" / "portability", env={**os.environ, **options, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-2000:]


def test_a_child_ends_with_its_parent_without_the_kernels_help(tmp_path):
    """Where Linux's kernel cannot be asked, the child looks itself who its parent is."""
    child = "import os, sys, time; sys.platform = 'darwin'; from porter.runners.job import end_with_parent;"
    child += "end_with_parent(); print(os.getpid(), flush=True); time.sleep(60)"
    parent = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {child!r}],"
    parent += "stdout=subprocess.PIPE, text=True); print(p.stdout.readline(), flush=True)"

    done = subprocess.run(
        [sys.executable, "-c", parent], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=50,
    )  # fmt: skip
    number = int(done.stdout)

    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and _runs(number):
            time.sleep(0.1)
        assert not _runs(number)
    finally:
        if _runs(number):
            os.kill(number, signal.SIGKILL)


def _runs(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{number}/stat") as file:  # noqa: PTH123
        return file.read().rpartition(")")[2].split()[0] != "Z"
