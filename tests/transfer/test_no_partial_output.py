import contextlib
import errno
import json
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from file_checkpoint import CHILD_ENVIRONMENT, FileCheckpoint, words
from safetensors.numpy import load_file

from porter.errors import OutputError
from porter.transfer.atomic_file import AtomicFile
from porter.transfer.transfer import Writing, transfer

# The full run of 200 is `PORTER_KILLS=200 pytest tests/transfer/test_no_partial_output.py`.
KILLS = int(os.environ.get("PORTER_KILLS", "25"))
WRITER = Path(__file__).with_name("endless_writer.py")
CAN_BE_UNNAMED = hasattr(os, "O_TMPFILE")


@pytest.fixture(params=["unnamed", "named"])
def mode(request, monkeypatch):
    """Run a test with and without the kernel's files that have no name yet."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    elif not CAN_BE_UNNAMED:
        pytest.skip("this kernel has no O_TMPFILE")
    return request.param


@contextlib.contextmanager
def mounted(folder, *commands):
    """Mount something on `folder`, or skip where that is not permitted."""
    for command in commands:
        try:
            done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no mount command")
        if done.returncode:
            pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def port(sources, out, **options):
    """Port 4 MB to `out`."""
    source = FileCheckpoint(sources, {"v": words(0, "int32", (1000, 1000))})
    return transfer(source, [source.assign("t", ("v", "i o -> o i"))], out, **options)


def number_in(out):
    """Return the number that fills `out`; fails unless the file is whole and of one piece."""
    values = load_file(out)["t"]
    data = out.read_bytes()
    metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    assert (values == values[0, 0]).all()
    assert int(metadata["number"]) == values[0, 0]
    return int(values[0, 0])


def interrupt(out, mode, after, number, delay):
    """Start the endless writer and send it signal `number` after `delay` seconds of writing."""
    command = [sys.executable, str(WRITER), str(out), mode, after]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=CHILD_ENVIRONMENT) as child:
        try:
            assert child.stdout.readline() == b"ready\n"
            time.sleep(delay)
        finally:
            child.send_signal(number)
        return child.wait()


@pytest.mark.parametrize("after", ["keep", "remove"])
def test_sigkill_at_any_moment_leaves_a_whole_file_or_none(folder, mode, after):
    """Killed while writing, OUT is absent or whole; with unnamed files nothing else is left either."""
    moments = random.Random(f"{mode} {after}")  # noqa: S311 - seeded on purpose
    seen = set()
    for _ in range(-(-KILLS // 4)):
        out = folder / "out.safetensors"
        interrupt(out, mode, after, signal.SIGKILL, moments.uniform(0, 0.05))
        seen.add(number_in(out) if out.exists() else None)
        left = sorted(set(folder.iterdir()) - {out})
        # A file that replaces another has a hidden name between linkat and rename, and is whole by then.
        assert left == [] or mode == "named" or (after == "keep" and number_in(left[0]))
        for path in folder.iterdir():
            path.unlink()

    assert seen - {None} or after == "remove"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_writer_cleans_up(folder, mode, number):
    """After SIGINT, and SIGTERM turned into SystemExit, no temporary file is left."""
    interrupt(folder / "out", mode, "keep", number, 0.02)

    assert number_in(folder / "out") >= 1
    assert [path.name for path in folder.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_exception_in_the_middle_keeps_the_old_file(sources, folder, mode, error):
    """Whatever is raised while writing passes through; the old file stays, no thread and no file is left."""
    (folder / "out").write_bytes(b"old")

    def stop(*_):
        raise error

    source = FileCheckpoint(sources, {"v": words(0, "int32", (1000, 1000))})
    os.truncate(source.path, 64 << 30)  # sparse; its digest would take a minute
    with pytest.raises(error):
        transfer(source, [source.assign("t", ("v", "i o -> o i"))], folder / "out", writing=Writing(stop))

    assert [path.name for path in folder.iterdir()] == ["out"]
    assert (folder / "out").read_bytes() == b"old"
    assert "porter-sha256" not in [thread.name for thread in threading.enumerate()]


def test_old_file_is_replaced_only_when_the_new_one_is_whole(sources, folder, mode):
    """Until the last byte is written OUT holds the old bytes, and no other name shows but a hidden one."""
    out = folder / "out"
    out.write_bytes(b"old")
    seen = set()

    def look(*_):
        seen.add(out.read_bytes())
        seen.update(path.name for path in folder.iterdir() if not path.name.startswith("."))

    port(sources, out, writing=Writing(look))

    assert seen == {b"old", "out"}
    assert load_file(out)["t"].shape == (1000, 1000)
    assert list(folder.iterdir()) == [out]


@pytest.mark.parametrize(("umask", "mode_bits"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_of_any_new_file(sources, folder, mode, umask, mode_bits):
    """The umask alone decides."""
    before = os.umask(umask)
    try:
        port(sources, folder / "out")
    finally:
        os.umask(before)

    assert stat.S_IMODE((folder / "out").stat().st_mode) == mode_bits


@pytest.mark.parametrize("old", [None, b"old"])
@pytest.mark.parametrize("reserve", [True, False])
def test_full_disk_leaves_nothing(sources, folder, mode, monkeypatch, reserve, old):
    """A disk too small is one clear error, at once or, where space cannot be reserved, while writing."""
    if not reserve:
        monkeypatch.setattr(os, "posix_fallocate", refuse_to_reserve)
    calls = []
    with mounted(folder, ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs"]):
        if old:
            (folder / "out").write_bytes(old)
        with pytest.raises(OutputError, match="not enough space") as caught:
            port(sources, folder / "out", writing=Writing(lambda *_: calls.append(1)))
        left = {path.name: path.read_bytes() for path in folder.iterdir()}

    assert caught.value.code == "output/disk-full"
    assert left == ({"out": old} if old else {})
    assert bool(calls) is not reserve


def refuse_to_reserve(*_):
    """Stand in for a file system without fallocate."""
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


@pytest.mark.parametrize("reserve", [True, False])
def test_file_size_limit_leaves_nothing(sources, folder, mode, monkeypatch, reserve):
    """A limit on file sizes (ulimit -f) is one clear error; Python ignores the signal SIGXFSZ."""
    if not reserve:
        monkeypatch.setattr(os, "posix_fallocate", refuse_to_reserve)
    sources.joinpath("weights.bin").write_bytes(b"")
    source = FileCheckpoint(sources, {"v": words(0, "int32", (1000, 1000))})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(OutputError) as caught:
            transfer(source, [source.assign("t", ("v", "i o -> o i"))], folder / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert caught.value.code == "output/file-too-large"
    assert list(folder.iterdir()) == []


def test_read_only_file_system_is_named(sources, folder, mode):
    """A read-only folder is one clear error."""
    bind_read_only = (["mount", "--bind", str(folder)], ["mount", "-o", "remount,ro,bind"])
    with mounted(folder, *bind_read_only), pytest.raises(OutputError) as caught:
        port(sources, folder / "out")

    assert caught.value.code == "output/read-only"
    assert "read-only" in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_write_permission_is_named(sources, folder, mode):
    """A folder that this user may not write to is one clear error."""
    folder.chmod(0o555)
    with pytest.raises(OutputError) as caught:
        port(sources, folder / "out")
    folder.chmod(0o755)

    assert caught.value.code == "output/read-only"


def make_link(out):
    """Make OUT a symbolic link to a file."""
    out.with_name("real").write_bytes(b"old")
    out.symlink_to("real")


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (Path.mkdir, "output/is-directory"),
        (make_link, "output/is-symlink"),
        (lambda out: out.symlink_to("nowhere"), "output/is-symlink"),
        (os.mkfifo, "output/not-a-file"),
    ],
)
def test_out_that_is_no_ordinary_file_is_refused(sources, folder, make, code):
    """A folder, a symbolic link (dangling or not) and a pipe are refused and stay as they are."""
    make(folder / "out")
    before = sorted((path.name, path.lstat().st_ino) for path in folder.iterdir())
    with pytest.raises(OutputError) as caught:
        port(sources, folder / "out")

    assert caught.value.code == code
    assert sorted((path.name, path.lstat().st_ino) for path in folder.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("missing/out", "output/no-folder"),
        ("file/out", "output/no-folder"),
        ("n" * 256, "output/bad-name"),
        ("a\0b", "output/bad-name"),
        (".", "output/is-directory"),
        ("..", "output/is-directory"),
    ],
)
def test_names_that_cannot_be_written_are_refused(sources, folder, name, code):
    """Missing folders and impossible names are one clear error each."""
    (folder / "file").write_bytes(b"")
    with pytest.raises(OutputError) as caught:
        port(sources, folder / name)

    assert caught.value.code == code
    assert [path.name for path in folder.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["n" * 255, "\N{CJK UNIFIED IDEOGRAPH-6C34}" * 85, "no unicode \udcff"])
def test_longest_and_oddest_names_work(sources, folder, mode, name):
    """A name as long as the file system allows, or of any bytes, works in spite of the hidden name."""
    (folder / name).write_bytes(b"old")
    port(sources, folder / name)

    assert [path.name for path in folder.iterdir()] == [name]


def test_relative_name_in_the_current_folder_works(sources, folder, monkeypatch):
    """A bare file name is written where the command runs."""
    monkeypatch.chdir(folder)
    port(sources, "out")

    assert [path.name for path in folder.iterdir()] == ["out"]


def test_nothing_is_left_open(folder, mode):
    """Neither commit nor discard leaves a file descriptor behind."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for commit in (True, False, True):
        with AtomicFile(folder / "out") as file:
            os.write(file.fd, b"x")
            if commit:
                file.commit()

    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_write_protected_file_is_not_replaced(sources, folder):
    """An old file that its owner made read-only is left alone, as any editor would leave it."""
    (folder / "out").write_bytes(b"old")
    (folder / "out").chmod(0o444)
    if os.access(folder / "out", os.W_OK):
        pytest.skip("root may write everything")
    with pytest.raises(OutputError) as caught:
        port(sources, folder / "out")

    assert caught.value.code == "output/read-only"


def test_values_after_the_first_failure_can_be_written(sources, folder, mode):
    """A failed port does not stand in the way of the next one."""
    with pytest.raises(ZeroDivisionError):
        port(sources, folder / "out", writing=Writing(lambda *_: 1 // 0))
    port(sources, folder / "out")

    np.testing.assert_array_equal(load_file(folder / "out")["t"], words(0, "int32", (1000, 1000)).T)
