"""Model Garden networks as TensorFlow saves them, written once per session by a process of its own."""

from __future__ import annotations

from pathlib import Path

from warm_frameworks import run_with_tensorflow

from porter.tables.shipped import load_tables

TABLES = load_tables()
WAYS = ["model", "backbone", "both", "save_weights", "saved_model", "module", "optimizer"]
_SCRIPT = Path(__file__).parent / "port" / "write_checkpoints.py"


def ways(name):
    """Return the ways in which TensorFlow can save variant `name`."""
    if name.endswith("hybrid_large"):
        # tf_keras 2.20 refuses: the network's GELU is a functools.partial without get_config().
        return [way for way in WAYS if way not in ("saved_model", "module")]
    # Tracing every function of a SavedModel takes minutes for the larger networks, so one is enough.
    return [*WAYS, "saved_model_traced"] if name.endswith("conv_small") else WAYS


def write(name, folder):
    """Let TensorFlow write variant `name` below `folder` in every way it has."""
    model_id = TABLES.variants[name].source.arguments["model_id"]
    run_with_tensorflow(_SCRIPT, folder, model_id, *ways(name))
