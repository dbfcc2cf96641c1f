"""A network of somebody's own, written and recorded by TensorFlow once per session."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from porter.runners.children import ask
from porter.runners.process import missing_packages


@pytest.fixture(scope="session")
def own_network(tmp_path_factory):
    """Return a function from Keras's generation to the file that it wrote."""
    if missing_packages("tensorflow"):
        pytest.skip("needs TensorFlow")
    folder, done = tmp_path_factory.mktemp("own_network"), set()

    def file(generation):
        if generation not in done:
            program = str(Path(__file__).with_name("write_own_network.py"))
            subprocess.run(
                [sys.executable, program, str(folder), generation], check=True, capture_output=True
            )
            done.add(generation)
        return folder / f"{generation}.keras"

    return file


@pytest.fixture(scope="session")
def recorded(own_network, tmp_path_factory):
    """Folder with TensorFlow's recording of the network that tf_keras wrote."""
    folder = tmp_path_factory.mktemp("recorded")
    request = {"source": str(own_network("tf_keras")), "function": "", "seeds": [1, 2], "out": str(folder)}
    ask("tensorflow", "match_source", request, threads=1, timeout=300)
    return folder
