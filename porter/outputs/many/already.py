"""Whether a port is there already: what it says of itself is what it would say if it were written now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from porter.core.checkpoint import Checkpoint
from porter.errors import OutputError
from porter.outputs.output import Output
from porter.transfer.source_hashes import SourceHashes

_SOURCES, _FOLDING = "porter.source_files", "porter.folding"


def is_there(output: Output, checkpoint: Checkpoint, out: Path, hashes: SourceHashes) -> bool:
    """Whether `out` is the port of this very source, with these choices, by this porter and this table.

    Digests of the source, every choice, porter's version and the table's digest stand in the metadata, and
    those are made anew and compared, as are the names of the tensors. The tensors are not read.

    Args:
        output: The plan in the form that was chosen.
        checkpoint: The open source.
        out: What may be there.
        hashes: The digests of the source's files.
    """
    form = output.form
    if not out.exists() or out.is_dir() == output.is_file(form):
        return False
    try:
        found, tensors, longest = _described(out)
    except OutputError:  # whatever it is, it is no port
        return False
    is_too_long = form.shard_size is not None and longest > form.shard_size
    if is_too_long or (_FOLDING in found) != form.fold_bn:
        return False
    wanted = output.metadata(checkpoint)
    if {key: found[key] for key in found.keys() - {_SOURCES, _FOLDING}} != wanted:
        return False
    same_names = form.fold_bn or {each.target for each in output.assignments} == tensors
    return same_names and _sources(found) == [file._asdict() for file in hashes.result()]


def _described(out: Path) -> tuple[Mapping[str, str], set[str], int]:
    """Return the metadata, the names of the tensors, and the bytes of the longest file that has several."""
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - where nothing is there, nothing is read

    from porter.loading.ported_file import ported_files, unreadable  # noqa: PLC0415 - as above

    found: dict[str, str] = {}
    names: set[str] = set()
    longest = 0
    for file in ported_files(out):
        try:
            with safe_open(file, framework="numpy") as opened:
                found = opened.metadata() or {}
                inside = set(opened.keys())
            names |= inside
            if len(inside) > 1:
                with file.open("rb") as raw:
                    longest = max(longest, file.stat().st_size - 8 - int.from_bytes(raw.read(8), "little"))
        except (OSError, SafetensorError) as error:
            raise unreadable(file, error) from None
    return found, names, longest


def _sources(found: Mapping[str, str]) -> object:
    try:
        return json.loads(found.get(_SOURCES, "null"))
    except ValueError:
        return None
