"""Model Garden networks as TensorFlow saves them, written once per session by a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from porter.table_file import load_tables

TABLES = load_tables()
WAYS = ["model", "backbone", "both", "save_weights", "saved_model", "module", "optimizer"]
_SCRIPT = Path(__file__).parent / "port" / "write_checkpoints.py"


def write(name, folder):
    """Let TensorFlow write variant `name` below `folder` in every way it has."""
    # Tracing every function of a SavedModel takes minutes for the larger networks, so one is enough.
    ways = [*WAYS, "saved_model_traced"] if name.endswith("conv_small") else WAYS
    model_id = TABLES.variants[name].source.arguments["model_id"]
    command = [sys.executable, _SCRIPT, folder, model_id, *ways]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
