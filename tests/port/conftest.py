"""What several files of tests share: models that one process of each Keras writes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from warm_frameworks import run_with_tensorflow


@pytest.fixture(scope="session", params=("tf_keras", "keras"))
def heads(request, tmp_path_factory) -> Path:
    """Let Keras write every model of `write_heads.py` once, whichever of pytest's processes asks first."""
    filelock = pytest.importorskip("filelock")
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder = shared / "heads" / request.param
    written = folder.with_suffix(".written")
    folder.parent.mkdir(exist_ok=True)
    with filelock.FileLock(folder.with_suffix(".lock")):
        if not written.exists():
            run_with_tensorflow(Path(__file__).with_name("write_heads.py"), request.param, folder)
            written.touch()
    return folder
