"""Finds out what a path names, by content, and opens it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from porter.checkpoints.tensorflow import saved_model, state_file
from porter.checkpoints.tensorflow.bundle import Bundle
from porter.checkpoints.tensorflow.v1 import TensorSlices
from porter.core.checkpoint import Checkpoint
from porter.core.network import StoredNetwork
from porter.core.stored_preprocessing import StoredInput
from porter.errors import CheckpointError
from porter.formats import magic
from porter.formats.files import RegularFile, require_regular
from porter.formats.malformed import naming
from porter.formats.sstable import LARGEST_BLOCK, LARGEST_V1_BLOCK, Table

_INDEX = ".index"
_SETTINGS = "params.yaml"
# Compiled when first needed: most checkpoints are opened without either.
_DATA_FILE = r"(.+)\.data-\d{5,}-of-\d{5,}"
_V1_FILE = r"(.+)-(\d{5}|\?{5})-of-(\d{5})"
_MOST_V1_FILES = 100_000


def open_path(path: Path) -> Checkpoint:
    """Open whatever checkpoint `path` names; see `porter.checkpoints.open_checkpoint`."""
    with naming(path):
        if not magic.exists(path):
            found = _open_prefix(path, path)
            if found is None:
                raise _not_found(path)
            return found
        if path.is_dir():
            return _open_directory(path)
        require_regular(path.stat())
    return _open_file(path, path)


def _open_prefix(path: Path, prefix: Path, container: str = "") -> Checkpoint | None:
    """Open the checkpoint whose files begin with `prefix`, or return None where there are none."""
    index = prefix.with_name(prefix.name + _INDEX)
    if magic.exists(index):
        return _open_index(path, index, container)
    if magic.exists(prefix) and not prefix.is_dir():
        return _open_v1(path, prefix, container)
    names = _listing(prefix.parent)
    data_files = (match for name in names if (match := re.fullmatch(_DATA_FILE, name, re.DOTALL)))
    if any(match[1] == prefix.name for match in data_files):
        raise CheckpointError(
            "bundle/missing-index",
            "there are data files but no index",
            file=prefix,
            expected=index.name,
            hint="Put the .index file beside them.",
        )
    matches = (match for name in names if (match := re.fullmatch(_V1_FILE, name, re.DOTALL)))
    first = next((match for match in matches if match[1] == prefix.name), None)
    return None if first is None else _open_v1(path, prefix.with_name(first[0]), container)


def _open_file(path: Path, file: Path) -> Checkpoint:
    magic.refuse_stand_in(file)
    if file.name in saved_model.DESCRIPTIONS and saved_model.is_saved_model(file):
        return _open_saved_model(path, file)
    if magic.is_table(file):
        return _open_table(path, file)
    data_file = re.fullmatch(_DATA_FILE, file.name, re.DOTALL)
    if data_file:
        found = _open_prefix(path, file.with_name(data_file[1]))
        if found is not None:
            return found
    if state_file.is_state_file(magic.head(file)):
        return _open_state(path, file)
    if magic.is_keras(file):
        from porter.checkpoints.keras.file import KerasFile  # noqa: PLC0415  (TensorBundles need none of it)

        return KerasFile(path, file)
    magic.refuse_foreign(file)
    found = _open_graph(path, file)
    if found is None:
        raise _unrecognised(path, file)
    return found


def _open_graph(path: Path, file: Path) -> Checkpoint | None:
    from porter.checkpoints.tensorflow.frozen_graph import FrozenGraph, is_graph  # noqa: PLC0415  (see KerasFile)

    handle = RegularFile(file)
    try:
        if file.name.endswith(".meta") or not is_graph(handle):
            return None
    finally:
        handle.close()
    return FrozenGraph(path, file)


def _unrecognised(path: Path, file: Path) -> CheckpointError:
    if file.name.endswith(_INDEX):
        with naming(file):
            handle = RegularFile(file)
            try:
                Table(handle)
            finally:
                handle.close()
    if file.name.endswith(".meta"):
        return CheckpointError(
            "checkpoint/meta-graph",
            "this is the graph that lies beside a checkpoint, without weights",
            file=path,
            hint=f"Name the checkpoint itself: {file.name.removesuffix('.meta')}.",
        )
    if saved_model.is_saved_model(file):
        return CheckpointError(
            "saved-model/wrong-name",
            "this is a SavedModel description under another name, so its variables cannot be found",
            file=path,
            expected="saved_model.pb",
        )
    return CheckpointError(
        "checkpoint/unknown-format",
        "this is no TensorFlow checkpoint",
        file=path,
        expected="a prefix, .index, `checkpoint` file, SavedModel, V1 checkpoint, Keras file or frozen graph",
    )


def _open_table(path: Path, file: Path) -> Checkpoint:
    if _is_v1(file):
        return _open_v1(path, file, "")
    if not file.name.endswith(_INDEX):
        raise CheckpointError(
            "bundle/index-renamed",
            "this is the index of a checkpoint under another name, so its data files cannot be found",
            file=path,
            expected="a name ending in .index",
        )
    return _open_index(path, file, "")


def _is_v1(file: Path) -> bool:
    """Whether a table holds V1 tensors: by the first field of its first value."""
    with naming(file):
        handle = RegularFile(file)
        try:
            limit = LARGEST_BLOCK if file.name.endswith(_INDEX) else LARGEST_V1_BLOCK
            first = Table(handle, limit).get(b"")
        finally:
            handle.close()
    return first is not None and first[:1] == b"\x0a"


def _open_index(path: Path, index: Path, container: str) -> Checkpoint:
    prefix = index.with_name(index.name.removesuffix(_INDEX))
    magic.refuse_stand_in(index)
    found = Bundle(path, prefix, f"{container}, TensorBundle" if container else "TensorBundle")
    settings = None if container else _settings_beside(prefix)
    if settings is not None:
        try:
            _take_settings(found, settings)
        except BaseException:
            found.close()
            raise
    return found


def _settings_beside(prefix: Path) -> Path | None:
    """Return the settings that the Model Garden leaves beside its checkpoints, or one directory up."""
    parent = prefix.parent
    candidates = (parent / _SETTINGS, Path(os.path.abspath(parent)).parent / _SETTINGS)  # noqa: PTH100
    return next((path for path in candidates if magic.exists(path) and path.is_file()), None)


def _take_settings(checkpoint: Checkpoint, path: Path) -> None:
    from porter.checkpoints.tensorflow.garden_settings import training_settings  # noqa: PLC0415  (see KerasFile)

    settings = training_settings(path)
    if settings is not None:
        checkpoint.training = settings
        checkpoint.stored_input = StoredInput(settings.input_size, path.name)


def _open_v1(path: Path, file: Path, container: str) -> Checkpoint:
    match = re.fullmatch(_V1_FILE, file.name, re.DOTALL)
    files: tuple[Path, ...] = (file,)
    if match:
        count = int(match[3])
        files = tuple(
            file.with_name(f"{match[1]}-{n:05d}-of-{match[3]}") for n in range(min(count, _MOST_V1_FILES))
        )
        present = set(_listing(file.parent))
        missing = next((part for part in files if part.name not in present), None)
        if missing is not None or not files:
            raise CheckpointError(
                "v1/missing-file",
                "a file of this V1 checkpoint is missing",
                file=path,
                expected=f"{count} files",
                found=f"{sum(part.name in present for part in files)}",
                hint=f"Put {(missing or file).name} beside the others.",
            )
    for part in files:
        magic.refuse_stand_in(part)
    return TensorSlices(path, files, f"{container}, V1 variables" if container else "V1 checkpoint")


def _open_directory(directory: Path) -> Checkpoint:
    description = saved_model.description_in(directory)
    if description is not None:
        return _open_saved_model(directory, description)
    state = directory / state_file.NAME
    if magic.exists(state) and not state.is_dir():
        return _open_state(directory, state)
    prefixes = sorted(name.removesuffix(_INDEX) for name in _listing(directory) if name.endswith(_INDEX))
    if len(prefixes) == 1:
        return _open_index(directory, directory / (prefixes[0] + _INDEX), "")
    if prefixes:
        raise CheckpointError(
            "checkpoint/several-checkpoints",
            "this directory has several checkpoints and no `checkpoint` file to choose by",
            file=directory,
            found=", ".join(prefixes[:5]) + (", ..." if len(prefixes) > 5 else ""),
            hint="Name one of them.",
        )
    beside = directory.parent / (directory.name + _INDEX)  # "." has no name for with_name to replace
    if directory.name and magic.exists(beside):
        return _open_index(directory, beside, "")
    raise _nothing_in(directory)


def _nothing_in(directory: Path) -> CheckpointError:
    variables = directory / saved_model.VARIABLES
    hint = None
    if magic.exists(variables.with_name(variables.name + _INDEX)):
        hint = f"saved_model.pb is missing; the variables alone open as {variables}."
    return CheckpointError(
        "checkpoint/no-checkpoint",
        "this directory has no checkpoint",
        file=directory,
        expected="saved_model.pb, a `checkpoint` file, or one .index file",
        hint=hint,
    )


def _open_saved_model(path: Path, description: Path) -> Checkpoint:
    saved_model.require_description(description)
    prefix = description.parent / saved_model.VARIABLES
    found = _open_prefix(path, prefix, "SavedModel") if prefix.parent.is_dir() else None
    if found is None:
        raise saved_model.refuse_without_variables(description)
    from porter.checkpoints.tensorflow.saved_model_input import saved_model_input  # noqa: PLC0415  (see KerasFile)

    found.files = (description, *found.files)
    found.stored_input = saved_model_input(description, found)
    found.read_network = lambda: _saved_model_network(description, found)
    return found


def _saved_model_network(description: Path, checkpoint: Checkpoint) -> StoredNetwork | None:
    from porter.checkpoints.tensorflow.saved_model_network import saved_model_network  # noqa: PLC0415  (see KerasFile)

    return saved_model_network(description, checkpoint)


def _open_state(path: Path, state: Path) -> Checkpoint:
    magic.refuse_stand_in(state)
    names = state_file.latest_names(state)
    for name in names:
        with naming(state):
            found = _open_latest(path, state.parent / name)
        if found is not None:
            return found
    raise CheckpointError(
        "state/stale",
        "the `checkpoint` file names a checkpoint that is not in its directory",
        file=state,
        expected=names[-1],
        found=_summary(state.parent),
        hint="Name the checkpoint you want.",
    )


def _open_latest(path: Path, prefix: Path) -> Checkpoint | None:
    sharded = re.fullmatch(_V1_FILE, prefix.name, re.DOTALL)
    if sharded:
        prefix = prefix.with_name(sharded[1])
    return None if prefix.name == state_file.NAME else _open_prefix(path, prefix)


def _summary(directory: Path) -> str:
    prefixes = sorted(name.removesuffix(_INDEX) for name in _listing(directory) if name.endswith(_INDEX))
    return ", ".join(prefixes[:5]) or "none"


def _listing(directory: Path) -> list[str]:
    try:
        return [entry.name for entry in directory.iterdir()]
    except (OSError, ValueError):
        return []


def _not_found(path: Path) -> CheckpointError:
    return CheckpointError(
        "checkpoint/not-found",
        "nothing is there",
        file=path,
        expected="a checkpoint prefix, file or directory",
        found=None if path.parent.is_dir() else "no such directory either",
    )
