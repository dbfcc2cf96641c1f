"""What several files of tests share: models that one process of each Keras writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from written_heads import written_heads


@pytest.fixture(scope="session", params=("tf_keras", "keras"))
def heads(request, tmp_path_factory) -> Path:
    """Every model of `write_heads.py`, as each Keras wrote it."""
    return written_heads(request.param, tmp_path_factory)
