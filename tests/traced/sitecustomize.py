"""Lies on the path of traced processes: hides packages from them, and counts what they call.

HIDDEN_PACKAGES: names, separated by commas, that cannot be imported.
OTHER_SYSTEM: "macos" or "windows", see other_systems.py.
TRACE_FILE: gets a line "<process> <function>" for each outermost call of a function of `_COUNTED`.
"""

from __future__ import annotations

import functools
import importlib.machinery
import os
import sys
from pathlib import Path

_COUNTED = {
    "porter.checkpoints": "open_checkpoint",
    "porter.planning.recognition": "recognise",
}


class _Hider(importlib.machinery.PathFinder):
    """Finds everything on the path but what is hidden, which is not there for whoever asks first either."""

    names = frozenset(filter(None, os.environ.get("HIDDEN_PACKAGES", "").split(",")))

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in cls.names else super().find_spec(name, path, target)


class _Counter:
    """Puts a counting function in the place of one, before anybody imports it from its module."""

    def find_spec(self, name, path=None, *_target):
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name in _COUNTED else None
        if spec is not None:
            run = spec.loader.exec_module

            def exec_module(module):
                run(module)
                setattr(module, _COUNTED[name], _counting(getattr(module, _COUNTED[name])))

            spec.loader.exec_module = exec_module
        return spec


def _counting(function):
    depth = 0

    @functools.wraps(function)
    def counted(*args, **kwargs):
        nonlocal depth
        if depth == 0:
            with Path(os.environ["TRACE_FILE"]).open("a") as file:
                file.write(f"{os.getpid()} {function.__name__}\n")
        depth += 1
        try:
            return function(*args, **kwargs)
        finally:
            depth -= 1

    return counted


sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = _Hider
if "TRACE_FILE" in os.environ:
    sys.meta_path.insert(0, _Counter())
if "OTHER_SYSTEM" in os.environ:
    sys.path.insert(0, str(Path(__file__).parent))
    import other_systems

    other_systems.pretend(os.environ["OTHER_SYSTEM"])
