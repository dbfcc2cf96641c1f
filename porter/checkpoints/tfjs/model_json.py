"""The ``model.json`` of a TensorFlow.js model, and where its weights are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from porter.checkpoints.keras import archive
from porter.checkpoints.tfjs.shards import Opener, archive_opener, folder_opener, unpacked_member
from porter.formats.files import RegularFile
from porter.formats.malformed import Malformed

MODEL = "model.json"
_LARGEST_MODEL = 256 << 20
_HEAD = 1 << 16
_TOPOLOGY, _MANIFEST = b'"modelTopology"', b'"weightsManifest"'


class ModelJson(NamedTuple):
    """What is read of a ``model.json``.

    Attributes:
        topology: The Keras config, or the graph.
        manifest: The weights manifest.
        is_graph: Whether the topology is a graph.
        opener: Opens the weight files.
        labels: Names of the classes, of Teachable Machine's ``metadata.json``; empty where there are none.
    """

    topology: Mapping[str, Any]
    manifest: Any
    is_graph: bool
    opener: Opener
    labels: tuple[str, ...] = ()


def is_model_json(file: RegularFile) -> bool:
    """Whether a file is the JSON of a TensorFlow.js model, by its two keys."""
    start = file.read(0, min(_HEAD, file.size)).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start.startswith(b"{") or file.size > _LARGEST_MODEL:
        return False
    if b'"' not in start[:_HEAD]:
        return False
    content = file.read(0, file.size)
    return _TOPOLOGY in content and _MANIFEST in content


def model_member(members: Mapping[str, archive.Member]) -> str | None:
    """Return the one ``model.json`` of an archive, with the folder that it is in."""
    found = [name for name in members if name.rpartition("/")[2] == MODEL]
    return found[0] if len(found) == 1 else None


def read_folder(file: RegularFile, opened: list[RegularFile]) -> ModelJson:
    """Read a ``model.json`` that lies beside its weights.

    Raises:
        Malformed: it is damaged.
    """
    folder = file.path.parent
    labels: tuple[str, ...] = ()
    beside = folder / "metadata.json"
    if beside.is_file():
        handle = RegularFile(beside)
        labels = _labels(handle.read(0, handle.size)) if handle.size < _HEAD else ()
        handle.close()
    return _parsed(_content(file), folder_opener(folder, opened), labels)


def read_archive(file: RegularFile, opened: list[RegularFile]) -> ModelJson:
    """Read the model in a zip archive, as Teachable Machine exports it.

    Raises:
        Malformed: the archive or the model is damaged.
    """
    members = archive.read_members(file)
    name = model_member(members)
    if name is None:
        raise Malformed("tfjs/no-model", "the archive has no model.json, or several")
    folder = name.removesuffix(MODEL)
    metadata = members.get(f"{folder}metadata.json")
    labels = _labels(_member(file, metadata)) if metadata is not None and metadata.size < _HEAD else ()
    opener = archive_opener(file, members, folder, opened)
    return _parsed(_member(file, members[name]), opener, labels)


def _content(file: RegularFile) -> bytes:
    if file.size > _LARGEST_MODEL:
        raise Malformed("tfjs/huge-model", "the model.json is implausibly long", found=file.size)
    return file.read(0, file.size)


def _member(file: RegularFile, member: archive.Member) -> bytes:
    if member.size > _LARGEST_MODEL:
        raise Malformed("tfjs/huge-model", f"{member.name} is implausibly long", found=member.size)
    unpacked = unpacked_member(file, member)
    try:
        return unpacked.read(0, member.size)
    finally:
        unpacked.close()


def _labels(content: bytes) -> tuple[str, ...]:
    try:
        listed = json.loads(content)["labels"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return ()
    is_list = isinstance(listed, list) and all(isinstance(label, str) for label in listed)
    return tuple(listed) if is_list else ()


def _parsed(content: bytes, opener: Opener, labels: tuple[str, ...]) -> ModelJson:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Malformed("tfjs/bad-json", f"the model.json is no JSON ({error})") from error
    topology = document.get("modelTopology") if isinstance(document, dict) else None
    if not isinstance(topology, dict):
        raise Malformed(
            "tfjs/no-topology",
            "the model.json describes no model: its modelTopology is missing",
            hint="Convert the model again; weights alone are not read.",
        )
    return ModelJson(topology, document.get("weightsManifest"), "node" in topology, opener, labels)


def model_in(directory: Path) -> Path | None:
    """Return the ``model.json`` of a directory if it is a TensorFlow.js model."""
    file = directory / MODEL
    if not file.is_file():
        return None
    handle = RegularFile(file)
    try:
        return file if is_model_json(handle) else None
    finally:
        handle.close()
