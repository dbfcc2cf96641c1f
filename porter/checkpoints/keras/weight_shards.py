"""Keras 3's sharded weights: a ``.weights.json`` that names the HDF5 file of each group of variables.

Source of the format: ShardedH5IOStore in keras/src/saving/saving_lib.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from porter.errors import printable
from porter.formats.files import RegularFile
from porter.formats.hdf5.description import Attribute, Description, Stored
from porter.formats.malformed import Malformed

_LARGEST_MAP = 64 << 20
_MOST_SHARDS = 10_000
_HEAD = 1 << 12
_END = ".weights.h5"


def is_shard_map(file: RegularFile) -> bool:
    """Whether a file is the JSON that names the shards of Keras's weights."""
    start = file.read(0, min(_HEAD, file.size))
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and (
        b'"weight_map"' in start and _END.encode() in start
    )


def shard_map(file: RegularFile) -> dict[str, list[str]]:
    """Return the shards of each group of variables, as the JSON lists them.

    Raises:
        Malformed: it is no such map, or names a file in another folder.
    """
    if file.size > _LARGEST_MAP:
        raise Malformed("keras/bad-shard-map", "the map of the shards is implausibly long", found=file.size)
    try:
        document = json.loads(file.read(0, file.size))
    except (ValueError, RecursionError) as error:
        raise Malformed("keras/bad-shard-map", f"the map of the shards is no JSON ({error})") from error
    listed = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(listed, dict) or not listed:
        raise Malformed("keras/bad-shard-map", "the map of the shards has no weight_map")
    return {path: _names(told) for path, told in listed.items()}


def _names(told: object) -> list[str]:
    names: list[str] = []
    for name in told if isinstance(told, list) else [told]:
        if not isinstance(name, str) or not name.endswith(_END) or Path(name).name != name or "\\" in name:
            raise Malformed(
                "keras/path-outside",
                "the map of the shards names a file that is no shard beside it",
                found=f"'{printable(str(name))}'",
                hint="The .weights.json is damaged or hostile: nothing of it was read.",
            )
        names.append(name)
    return names


def open_shards(file: RegularFile, opened: list[RegularFile]) -> dict[str, RegularFile]:
    """Open every shard that a map names; each is added to `opened`, to be closed.

    Raises:
        Malformed: a shard is missing, or the map is damaged.
    """
    names = sorted({name for names in shard_map(file).values() for name in names})
    if len(names) > _MOST_SHARDS:
        raise Malformed("keras/bad-shard-map", "the map names implausibly many shards", found=len(names))
    found = {}
    for name in names:
        shard = file.path.with_name(name)
        if not shard.is_file() or shard.resolve().parent != file.path.resolve().parent:
            raise Malformed(
                "keras/missing-shard",
                "a shard of the weights is missing",
                expected=printable(name),
                hint="The .weights.json holds no numbers: put every shard beside it.",
            )
        found[name] = RegularFile(shard)
        opened.append(found[name])
    return found


def merged(descriptions: Mapping[str, Description], shards: Mapping[str, list[str]]) -> Description:
    """Return the descriptions of all shards as one.

    Args:
        descriptions: What is in each shard, by its name.
        shards: The shards of each group of variables.

    Raises:
        Malformed: the map and the shards do not agree.
    """
    groups: dict[str, Mapping[str, Attribute]] = {}
    datasets: dict[str, Stored] = {}
    for name, description in descriptions.items():
        groups |= description.groups
        for path, stored in description.datasets.items():
            if path in datasets or name not in shards.get(f"/{path.rpartition('/')[0]}", ()):
                raise Malformed(
                    "keras/foreign-shard",
                    f"the map of the shards does not say that {printable(name)} holds '{printable(path)}'",
                    hint="The shards are of different models: save the weights again.",
                )
            datasets[path] = stored
    for path, names in shards.items():
        held = {name for name in names if path.strip("/") in descriptions[name].groups}
        if held != set(names):
            raise Malformed(
                "keras/foreign-shard",
                "a shard does not hold what the map says",
                found=f"'{printable(path)}'",
                hint="The shards are of different models: save the weights again.",
            )
    return Description(groups, datasets)
