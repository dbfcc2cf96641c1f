"""The sections of a table file about where the PyTorch network comes from and how the table was proved."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from porter.tables.faults import Faults
from porter.tables.strict_toml import Section
from porter.tables.table_records import Proof

LIBRARIES = ("timm", "torchvision", "transformers", "torch")
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_STATES = ("proved", "draft")


class Target(NamedTuple):
    """What the variants of a file share of their PyTorch networks.

    Attributes:
        library: One of `LIBRARIES`.
        builder: ``"package.module:function"`` for the library ``"torch"``, else "".
        arguments: Of every variant's network.
        adjust: What is changed in the finished network.
    """

    library: str
    builder: str
    arguments: Mapping[str, object]
    adjust: Mapping[str, object]


def read_target(target: Section, faults: Faults) -> Target:
    """Take what ``[target]`` holds.

    Raises:
        TableError: something is wrong, unless `faults` collects.
    """
    library, builder = "timm", ""
    with faults.catch():
        library = target.take("library", str)
        if library not in LIBRARIES:
            raise target.error(
                "table/library", "library", expected=f"one of {list(LIBRARIES)}", found=repr(library)
            )
    with faults.catch():
        builder = target.take("builder", str, "")
        if bool(builder) != (library == "torch") or (builder and not _FUNCTION.fullmatch(builder)):
            raise target.error(
                "table/builder",
                "builder",
                expected="'package.module:function', for library 'torch' alone",
                found=repr(builder),
            )
    adjust: Mapping[str, object] = {}
    with faults.catch():
        adjust = _adjust(target.section("adjust", optional=True))
    return Target(library, builder, target.section("arguments", optional=True).rest(), adjust)


def _adjust(section: Section) -> Mapping[str, object]:
    found: dict[str, object] = {}
    if "same_padding" in section.keys:
        is_all = section.holds("same_padding", bool)
        found["same_padding"] = (
            section.take("same_padding", bool) if is_all else section.take_list("same_padding", str)
        )
    if "average_without_padding" in section.keys:
        found["average_without_padding"] = section.take_list("average_without_padding", str)
    if "eps" in section.keys:
        if section.holds("eps", dict):
            names = section.section("eps")
            found["eps"] = {name: names.take(name, float) for name in names.keys}
        else:
            found["eps"] = section.take("eps", float)
    section.finish()
    return found


def read_proof(top: Section, faults: Faults) -> Proof | None:
    """Take ``[proof]``, None where the file has none.

    Raises:
        TableError: something is wrong, unless `faults` collects.
    """
    if "proof" not in top.keys:
        return None
    proof: Proof | None = None
    with faults.catch():
        section = top.section("proof")
        status = section.take("status", str)
        if status not in _STATES:
            raise section.error(
                "table/proof", "status", expected=f"one of {list(_STATES)}", found=repr(status)
            )
        proof = Proof(
            status=status,
            sizes=tuple(section.take_list("sizes", str, [])),
            seeds=tuple(section.take_list("seeds", int, [])),
            worst=section.take("worst", float, 0.0),
            ran=section.take("ran", str, ""),
            open=tuple(section.take_list("open", str, [])),
        )
        section.finish()
    return proof
