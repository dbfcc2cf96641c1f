"""Order of the suite, and what every test may ask for."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import pytest

_ORDER = ("torch", "onnx", "tensorflow")
# Files that take minutes: begun first among those of their framework, they end before the short ones do.
_LONG = (
    "test_goldens.py",
    "test_matrix.py",
    "test_every_kind.py",
    "test_live.py",
    "test_ray.py",
    "test_cuts.py",
    "test_tflite.py",
)


def pytest_collection_modifyitems(items):
    """Run what needs no framework first, then torch, then TensorFlow: the cheap failures come early.

    `tests/run.sh` has two processes take whole files in this order: a file makes what its tests share.
    """
    items.sort(key=lambda item: (_level(item), item.path.name not in _LONG))


def _level(item):
    return max((_ORDER.index(m.name) + 1 for m in item.iter_markers() if m.name in _ORDER), default=0)


@pytest.fixture(scope="session")
def warm_frameworks():
    """What starts framework processes for the tests: forks of one that has imported the framework."""
    from warm_frameworks import WARM

    yield WARM
    WARM.close()


@pytest.fixture(scope="module", autouse=True)
def _begin_warm(request, warm_frameworks):
    """Start framework processes warm, but for the modules that test how they are started."""
    with contextlib.ExitStack() as stack:
        if not getattr(request.module, "STARTS_COLD", False):
            stack.enter_context(warm_frameworks.patch())
        yield


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory):
    """Return a function from a name to a new folder that ends with the module: networks would fill a disk."""
    made = []

    def folder(name):
        made.append(tmp_path_factory.mktemp(name))
        return made[-1]

    yield folder
    for each in made:
        shutil.rmtree(each)


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
