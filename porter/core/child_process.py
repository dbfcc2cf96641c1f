"""What a child process of porter may use, and where it finds porter."""

from __future__ import annotations

import os
from pathlib import Path


def cores() -> int:
    """Return how many cores this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux alone tells which cores are this process's
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def import_path() -> str:
    """Return the PYTHONPATH with which a child imports the porter that runs here."""
    root = str(Path(__file__).parents[2])
    return os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
