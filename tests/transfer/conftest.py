"""A folder of its own for every output, apart from that of the sources."""

import pytest


@pytest.fixture
def sources(tmp_path):
    """Return an empty folder for checkpoints."""
    folder = tmp_path / "sources"
    folder.mkdir()
    return folder


@pytest.fixture
def folder(tmp_path):
    """Return an empty folder for outputs."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder
