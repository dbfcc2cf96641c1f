"""What the ports of many sources are called."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from porter.errors import OutputError
from porter.outputs.output import SUFFIX

# Endings of files that hold weights; what stands before them is the name that a person gave.
_ENDINGS = (
    ".weights.h5",
    ".weights.json",
    ".data-00000-of-00001",
    ".index",
    ".h5",
    ".hdf5",
    ".keras",
    ".tflite",
    ".pbtxt",
    ".pb",
    ".json",
    ".zip",
)
_SHOWN = 5


def output_names(sources: Sequence[Path], *, suffix: str = SUFFIX, parents: int = 0) -> list[str]:
    """Return what the port of each source is called.

    >>> output_names([Path("runs/a/best.h5"), Path("runs/b/ckpt-100.index")])
    ['best.safetensors', 'ckpt-100.safetensors']
    >>> output_names([Path("runs/a/best.h5"), Path("runs/b/best.h5")], parents=1)
    ['a-best.safetensors', 'b-best.safetensors']

    Args:
        sources: Checkpoints, in order.
        suffix: What the names end in; nothing for folders.
        parents: How many folders above a source are put in front of its name.

    Raises:
        OutputError: two would be called the same, or a source has no name.
    """
    names = [_name(source, parents) + suffix for source in sources]
    taken: dict[str, list[Path]] = {}
    for source, name in zip(sources, names, strict=True):
        taken.setdefault(_as_the_disk_sees(name), []).append(source)
    _refuse_shared({name: shared for name, shared in taken.items() if len(shared) > 1})
    return names


def _name(source: Path, parents: int) -> str:
    """Return a source's own name, behind those of the folders above it."""
    whole = Path(os.path.abspath(source))  # noqa: PTH100 (a link keeps the name that the person gave it)
    name = whole.name
    if not whole.is_dir():
        ending = next((e for e in _ENDINGS if name.lower().endswith(e) and len(name) > len(e)), "")
        name = name[: len(name) - len(ending)]
    above = [folder.name for folder in whole.parents[:parents] if folder.name]
    if not name or "\0" in name:
        raise OutputError("output/no-name", "has no name that a port of it could have", file=source)
    return "-".join([*reversed(above), name])


def _as_the_disk_sees(name: str) -> str:
    return name.casefold() if sys.platform in ("darwin", "win32") else name


def _refuse_shared(shared: Mapping[str, Iterable[Path]]) -> None:
    if not shared:
        return
    lines = [f"{name}: {', '.join(map(str, sources))}" for name, sources in shared.items()]
    rest = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    raise OutputError(
        "output/same-name",
        "an output would be written from more than one source",
        hint="Name each source once; --parents 1 puts the name of its folder in front of the output's, and "
        "sources that differ in their ending alone need an --out-dir for each.",
        details=[*lines[:_SHOWN], *rest],
    )
