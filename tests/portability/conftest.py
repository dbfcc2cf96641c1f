"""A source of every container, and what this system and this Python make of them."""

import sys

import pytest
from running import ROOT, run


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """The folder that `read_and_port.py` takes."""
    pytest.importorskip("h5py")
    from write_sources import write

    folder = tmp_path_factory.mktemp("sources")
    write(folder)
    return folder


@pytest.fixture(scope="session")
def here(sources, tmp_path_factory):
    """What comes out on this system, with this Python."""
    return run(sys.executable, sources, tmp_path_factory.mktemp("here") / "out", PYTHONPATH=str(ROOT))
