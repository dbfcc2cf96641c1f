import errno
import os
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import porter.transfer.direct_writer
from porter.errors import OutputError
from porter.transfer.atomic_file import AtomicFile
from porter.transfer.direct_writer import DirectWriter


def filled(folder, runs, **patches):
    """Write each (position, pieces) with a direct writer into a file of zeros; return found and expected."""
    size = max(position + sum(pieces) for position, pieces in runs)
    expected = np.zeros(size, np.uint8)
    rng = np.random.default_rng(0)
    path = folder / "file"
    path.write_bytes(bytes(size))
    descriptor = os.open(path, os.O_WRONLY)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in patches.items():
                patch.setattr(porter.transfer.direct_writer, name, value)
            writer = DirectWriter(descriptor)
            for position, pieces in runs:
                for count in pieces:
                    data = rng.integers(1, 256, count, np.uint8)
                    expected[position : position + count] = data
                    writer.write(data.data, position)
                    position += count  # noqa: PLW2901 - the run goes on
            writer.finish()
    finally:
        os.close(descriptor)
    return np.fromfile(path, np.uint8), expected


@st.composite
def disjoint_runs(draw):
    """Draw runs of pieces that do not overlap, in any order."""
    position, runs = 0, []
    for _ in range(draw(st.integers(1, 4))):
        position += draw(st.integers(0, 9000))
        pieces = draw(st.lists(st.integers(1, 20_000), min_size=1, max_size=4))
        runs.append((position, pieces))
        position += sum(pieces)
    return draw(st.permutations(runs))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=disjoint_runs(), room=st.sampled_from([4096, 8192, 1 << 20]))
def test_every_byte_arrives_whatever_the_alignment(folder, runs, room):
    """Runs at any position and of any length are written whole, and nothing beside them is touched."""
    found, expected = filled(folder, runs, _ROOM=room)

    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("refused", ["open", "write"])
def test_file_systems_without_direct_writes_get_ordinary_ones(folder, monkeypatch, refused):
    """Where O_DIRECT is refused, at once or when writing, the bytes go through the page cache."""
    if refused == "open":
        monkeypatch.setattr(porter.transfer.direct_writer, "_reopened", lambda _: None)
    else:
        write = os.pwrite

        def pwrite(descriptor, view, position):
            if os.get_blocking(descriptor) and position % 4096 == 0 and len(view) % 4096 == 0 and refusals:
                refusals.pop()
                raise OSError(errno.EINVAL, "no")
            return write(descriptor, view, position)

        refusals = [1]
        monkeypatch.setattr(os, "pwrite", pwrite)
    found, expected = filled(folder, [(100, [50_000, 50_000])])

    np.testing.assert_array_equal(found, expected)
    if refused == "write":
        assert refusals == []


def test_refusal_of_the_disk_is_told(folder, monkeypatch):
    """An error in the background ends the port at the next write or, after the last, at the commit."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write(file, megabytes):
        for number in range(megabytes):
            file.write_long(memoryview(bytes(1 << 20)), number << 20)
        file.commit()

    monkeypatch.setattr(os, "pwrite", full)
    for megabytes in (1, 40):
        with AtomicFile(folder / "out") as file, pytest.raises(OutputError) as caught:
            write(file, megabytes)
        assert caught.value.code == "output/disk-full"
        assert list(folder.iterdir()) == []


def test_error_of_a_background_sync_is_told(folder, monkeypatch):
    """The system tells a lost page once: what the sync in the background hears must not be forgotten."""
    asked = threading.Event()

    def lost(*_):
        asked.set()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", lost)
    with AtomicFile(folder / "out") as file:
        file.write(bytes(20 << 20), 0)
        assert asked.wait(60)
        with pytest.raises(OutputError) as caught:
            file.commit()

    assert caught.value.code == "output/write-failed"
    assert list(folder.iterdir()) == []
