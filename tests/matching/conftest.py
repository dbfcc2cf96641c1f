"""Networks of somebody's own, written and recorded by TensorFlow once per session, in one process each."""

from __future__ import annotations

from pathlib import Path

import pytest
from warm_frameworks import run_with_tensorflow

from porter.runners.process import missing_packages, variables


def _written(tmp_path_factory, name):
    if missing_packages("tensorflow"):
        pytest.skip("needs TensorFlow")
    folder = tmp_path_factory.mktemp(name)
    run_with_tensorflow(Path(__file__).with_name(f"write_{name}.py"), folder, **variables(1))
    return folder


@pytest.fixture(scope="session")
def own_network(tmp_path_factory):
    """Folder with what `write_own_network.py` writes."""
    return _written(tmp_path_factory, "own_network")


@pytest.fixture(scope="session")
def small_networks(tmp_path_factory):
    """Folder with what `write_small_networks.py` writes."""
    return _written(tmp_path_factory, "small_networks")
