"""The installed commands, and one clear line where another project's `porter` stands in for this one.

``porter`` on PyPI is another project, which installs a package of the same import name. Whichever comes last
overwrites the other's ``porter/__init__.py``, and uninstalling either removes it. This module has a name that
only this distribution installs, so it is found and can say so.
"""

from __future__ import annotations

import gc
import importlib.machinery
import os
import sys

_FIRST_LINE = b'"""Port TensorFlow vision weights to PyTorch'
_AGAIN = "python -m pip install --force-reinstall --no-deps port-weights"


def porter() -> None:
    """Entry point of the installed script ``porter``."""
    _require_own_package()
    from porter.cli.main import main  # noqa: PLC0415  (not before it is known whose package that is)

    main()


def port_weights() -> None:
    """Entry point of the installed script ``port-weights``."""
    # The process ends before there is garbage worth a search, and each search takes a millisecond.
    gc.disable()
    _require_own_package()
    from porter.cli.main import port_weights_main  # noqa: PLC0415  (likewise)

    port_weights_main()


def parity_check() -> None:
    """Entry point of the installed script ``parity-check``."""
    _require_own_package()
    from porter.cli.main import parity_check_main  # noqa: PLC0415  (likewise)

    parity_check_main()


def _require_own_package() -> None:
    """End the process with one line if ``import porter`` leads to another project's package."""
    spec = importlib.machinery.PathFinder.find_spec("porter")
    origin = spec.origin if spec is not None else None
    if origin is None or not _is_own(origin):
        sys.exit(f"Error: {_explained(origin)}")


def _is_own(origin: str) -> bool:
    try:
        with open(origin, "rb") as file:  # noqa: PTH123  (pathlib costs more than the rest of the check)
            return file.read(len(_FIRST_LINE)) == _FIRST_LINE
    except OSError:
        return False


def _explained(origin: str | None) -> str:
    strangers = _other_distributions()
    remove = f"python -m pip uninstall {' '.join(strangers)}; " if strangers else ""
    if origin is None:
        problem = "the package 'porter' is incomplete, as uninstalling another 'porter' leaves it"
        return f"{problem}. Run: {remove}{_AGAIN}"
    whose = f" of the distribution {' and '.join(map(repr, strangers))}" if strangers else ""
    problem = f"'import porter' finds another project's package{whose}: {origin}"
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "porter", "")  # noqa: PTH100, PTH118, PTH120
    if strangers or os.path.abspath(origin).startswith(here):  # noqa: PTH100
        return f"{problem}. Run: {remove}{_AGAIN}"
    return f"{problem}. Rename it, or take its folder off PYTHONPATH"


def _other_distributions() -> list[str]:
    """Return the names of installed distributions with a package ``porter``, without this one's."""
    from importlib.metadata import packages_distributions  # noqa: PLC0415  (only on the way to an error)

    return sorted(set(packages_distributions().get("porter", [])) - {"port-weights"})
