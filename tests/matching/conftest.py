"""A network of somebody's own, written and recorded by TensorFlow once per session, in one process."""

from __future__ import annotations

from pathlib import Path

import pytest
from warm_frameworks import run_with_tensorflow

from porter.runners.process import missing_packages, variables


@pytest.fixture(scope="session")
def own_network(tmp_path_factory):
    """Folder with what `write_own_network.py` writes."""
    if missing_packages("tensorflow"):
        pytest.skip("needs TensorFlow")
    folder = tmp_path_factory.mktemp("own_network")
    program = Path(__file__).with_name("write_own_network.py")
    run_with_tensorflow(program, folder, **variables(1))
    return folder
