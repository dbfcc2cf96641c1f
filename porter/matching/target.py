"""The PyTorch network of a match, as a person names it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from porter.errors import ParityError

_LIBRARIES = ("timm", "torchvision", "transformers")
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class Target(NamedTuple):
    """A PyTorch network.

    Attributes:
        library: ``"timm"``, ``"torchvision"``, ``"transformers"`` or ``"torch"``.
        name: What the library calls it, or ``"package.module:function"``.
        arguments: What it is built with.
    """

    library: str
    name: str
    arguments: Mapping[str, Any]

    @property
    def words(self) -> str:
        """The target as it is named on a command line."""
        return self.name if self.library == "torch" else f"{self.library}:{self.name}"


def parse_target(text: str, arguments: Iterable[str] = ()) -> Target:
    """Read ``timm:NAME``, ``torchvision:NAME``, ``transformers:CLASS`` or ``package.module:function``.

    Args:
        text: The target.
        arguments: ``name=value`` each; a value is JSON, or else text.

    Raises:
        ParityError: it is none of these (``match/target``).
    """
    library, _, name = text.partition(":")
    given = dict(_argument(each) for each in arguments)
    if library in _LIBRARIES and name:
        return Target(library, name, given)
    if not _FUNCTION.fullmatch(text):
        raise ParityError(
            "match/target",
            f"the target {text!r} names no network",
            expected="timm:NAME, torchvision:NAME, transformers:CLASS or package.module:function",
        )
    return Target("torch", text, given)


def with_classes(target: Target, classes: int | None) -> Target:
    """Return the target with as many classes as the source has, where its library takes the number."""
    names = {"timm": "num_classes", "torchvision": "num_classes", "transformers": "num_labels"}
    name = names.get(target.library)
    if name is None or name in target.arguments or (classes is None and target.library != "timm"):
        return target
    return target._replace(arguments={**target.arguments, name: classes or 0})


def _argument(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    if not name.isidentifier() or not value:
        raise ParityError("match/argument", f"{text!r} is no argument", expected="name=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
