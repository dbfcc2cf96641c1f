"""A network of somebody's own, written and recorded by TensorFlow once per session, in one process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from porter.runners.process import environment, missing_packages


@pytest.fixture(scope="session")
def own_network(tmp_path_factory):
    """Folder with what `write_own_network.py` writes."""
    if missing_packages("tensorflow"):
        pytest.skip("needs TensorFlow")
    folder = tmp_path_factory.mktemp("own_network")
    program = Path(__file__).with_name("write_own_network.py")
    subprocess.run(
        [sys.executable, str(program), str(folder)], check=True, capture_output=True, env=environment(1)
    )
    return folder
