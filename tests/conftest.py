"""Order of the suite, and what every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_TESTS = Path(__file__).parent
_ORDER = ("torch", "onnx", "tensorflow")
# Folders whose tests share networks and recordings that take long to make.
_SHARING = ("diagnosis", "onnx", "parity")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items):
    """Run what needs no framework first, then torch, then TensorFlow: the cheap failures come early.

    Tests that share what is made once stay together when several processes run the suite
    (`pytest --numprocesses 2 --dist loadgroup`).
    """
    items.sort(key=_level)
    for item in items:
        folder, *_ = item.path.relative_to(_TESTS).parts
        together = folder if folder in _SHARING else item.path.relative_to(_TESTS)
        item.add_marker(pytest.mark.xdist_group(f"{_level(item)}:{together}"))


def _level(item):
    return max((_ORDER.index(m.name) + 1 for m in item.iter_markers() if m.name in _ORDER), default=0)


@pytest.fixture(scope="session")
def real_checkpoints():
    """Folder of checkpoints that other people wrote."""
    folder = os.environ.get("PORTER_REAL_CHECKPOINTS")
    if not folder:
        pytest.skip("PORTER_REAL_CHECKPOINTS does not name a folder of real checkpoints")
    return Path(folder)


@pytest.fixture(scope="session")
def garden(tmp_path_factory):
    """Return a function from variant to the folder where TensorFlow wrote it, once per session."""
    pytest.importorskip("official", reason="needs tf-models-official")
    from garden_checkpoints import write

    done = {}

    def folder(name):
        if name not in done:
            done[name] = tmp_path_factory.mktemp(name)
            write(name, done[name])
        return done[name]

    return folder
