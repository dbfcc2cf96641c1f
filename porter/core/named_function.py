"""A person's own code, by the name under which a table or a command line gives it."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from porter.errors import TableError


def is_function_name(name: str) -> bool:
    """Whether `name` has the form ``"package.module:function"``."""
    module, colon, function = name.partition(":")
    return bool(colon) and function.isidentifier() and all(map(str.isidentifier, module.split(".")))


def named_function(name: str) -> Callable[..., Any]:
    """Import the module that `name` gives, which runs its code, and return the function.

    It is looked for among what is installed, then in the current folder.

    Args:
        name: ``"package.module:function"``.

    Raises:
        TableError: nothing is called so (``table/no-function``).
    """
    module, _, function = name.partition(":")
    folder = os.getcwd()  # noqa: PTH109  (sys.path holds text)
    if folder not in sys.path:
        sys.path.append(folder)  # last: a file beside the table must not stand in for an installed package
    try:
        found = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and lacks something itself
        raise _no_function(name, f"there is no module {error.name}") from None
    except AttributeError:
        raise _no_function(name, f"{module} has no {function}") from None
    if not callable(found):
        raise _no_function(name, "it is no function")
    result: Callable[..., Any] = found
    return result


def _no_function(name: str, reason: str) -> TableError:
    return TableError(
        "table/no-function",
        f"{name} cannot be called: {reason}",
        hint="Run the command in the folder that holds the module, or install its package.",
    )
