"""What several files of tests share: models that one process of each Keras writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from warm_frameworks import run_with_tensorflow


@pytest.fixture(scope="session", params=("tf_keras", "keras"))
def heads(request, tmp_path_factory) -> Path:
    """Let Keras write every model of `write_heads.py` once."""
    folder = tmp_path_factory.mktemp("heads") / request.param
    writer = Path(__file__).with_name("write_heads.py")
    run_with_tensorflow(writer, request.param, folder)
    return folder
