"""Whether a port is there already: what it says of itself is what it would say if it were written now."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
        found, shards = _described(out)
    except OutputError:  # whatever it is, it is no port
        return False
    is_dealt_so = form.shard_size is None or _could_be_dealt(shards, form.shard_size)
    if not is_dealt_so or (_FOLDING in found) != form.fold_bn:
        return False
    wanted = output.metadata(checkpoint)
    if {key: found[key] for key in found.keys() - {_SOURCES, _FOLDING}} != wanted:
        return False
    tensors = {name for shard in shards for name in shard}
    same_names = form.fold_bn or {each.target for each in output.assignments} == tensors
    return same_names and _sources(found) == [file._asdict() for file in hashes.result()]


def _could_be_dealt(shards: Sequence[Mapping[str, int]], limit: int) -> bool:
    """Whether each shard holds what it may, and none could have taken what the next one begins with.

    Which tensor that is was forgotten with the order; if the largest one had found room, any would have.
    """
    sizes = [sum(shard.values()) for shard in shards]
    fits = all(size <= limit or len(shard) == 1 for size, shard in zip(sizes, shards, strict=True))
    return fits and all(
        size + max(after.values(), default=0) > limit for size, after in zip(sizes, shards[1:], strict=False)
    )


def _described(out: Path) -> tuple[Mapping[str, str], Sequence[Mapping[str, int]]]:
    """Return the metadata, and the bytes of every tensor, file by file."""
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - where nothing is there, nothing is read

    from porter.loading.ported_file import ported_files, unreadable  # noqa: PLC0415 - as above

    found: dict[str, str] = {}
    shards: list[Mapping[str, int]] = []
    for file in ported_files(out):
        try:
            with safe_open(file, framework="numpy") as opened:
                found = opened.metadata() or {}
            shards.append(_lengths(file))
        except (OSError, SafetensorError, ValueError) as error:
            raise unreadable(file, error) from None
    return found, shards


def _lengths(file: Path) -> Mapping[str, int]:
    """Return the bytes of each tensor of a safetensors file."""
    with file.open("rb") as raw:
        header = json.loads(raw.read(int.from_bytes(raw.read(8), "little")))
    places = {name: stored["data_offsets"] for name, stored in header.items() if name != "__metadata__"}
    return {name: end - begin for name, (begin, end) in places.items()}


def _sources(found: Mapping[str, str]) -> object:
    try:
        return json.loads(found.get(_SOURCES, "null"))
    except ValueError:
        return None
