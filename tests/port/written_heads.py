"""Writes the models of `write_heads.py` once, whichever of pytest's processes asks first."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from warm_frameworks import run_with_tensorflow

OWN_CONTAINER = {"tf_keras": "model.h5", "keras": "model.keras"}
"""What each generation of Keras is tested with where one container is enough."""


def written_heads(generation, tmp_path_factory) -> Path:
    """Return the folder with the models as one generation of Keras, ``tf_keras`` or ``keras``, wrote them."""
    filelock = pytest.importorskip("filelock")
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder = shared / "heads" / generation
    written = folder.with_suffix(".written")
    folder.parent.mkdir(exist_ok=True)
    with filelock.FileLock(folder.with_suffix(".lock")):
        if not written.exists():
            shutil.rmtree(folder, ignore_errors=True)  # what a writer that failed has left
            run_with_tensorflow(Path(__file__).with_name("write_heads.py"), generation, folder)
            written.touch()
    return folder
