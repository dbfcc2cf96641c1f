"""Model Garden networks as TensorFlow saves them, written once per session by a process of its own."""

from __future__ import annotations

from pathlib import Path

from warm_frameworks import run_with_tensorflow

from porter.tables.shipped import load_tables

TABLES = load_tables()
WAYS = ["model", "backbone", "both", "save_weights", "saved_model", "module", "optimizer"]
_SCRIPT = Path(__file__).parent / "port" / "write_checkpoints.py"


def ways(name):
    """Return the ways in which variant `name` is saved: all for one without and one with attention.

    A way is a way of naming variables, whatever the size of the network.
    """
    if name == "mobilenetv4_conv_small":
        # Tracing every function of a SavedModel takes minutes for the larger networks, so one is enough.
        return [*WAYS, "saved_model_traced"]
    return WAYS if name == "mobilenetv4_hybrid_medium" else ["model", "backbone"]


def write(name, folder):
    """Let TensorFlow write variant `name` below `folder` in every way it has."""
    model_id = TABLES.variants[name].source.arguments["model_id"]
    run_with_tensorflow(_SCRIPT, folder, model_id, *ways(name))
