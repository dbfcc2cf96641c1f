"""The `checkpoint` file that TensorFlow keeps beside checkpoints: which one is the latest."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath, PureWindowsPath

from porter.checkpoints.container import Container
from porter.checkpoints.tensorflow.prefix import open_prefix
from porter.checkpoints.tensorflow.tables import prefixes_in
from porter.checkpoints.tensorflow.v1_files import without_number
from porter.core.checkpoint import Checkpoint
from porter.errors import CheckpointError
from porter.formats.magic import exists, head, refuse_pointer
from porter.formats.malformed import naming

_NAME = "checkpoint"
_BACKUP = "chief"
_LONGEST = 1 << 20
_SHOWN = 5
_KEY = b"model_checkpoint_path"
# No \s before the name: over a megabyte of blank lines it would backtrack for hours.
_FIELD = rb'^[ \t]*model_checkpoint_path[ \t]*:[ \t]*((?:"(?:[^"\\\n]|\\.)*"\s*)+)'
_STRING = rb'"((?:[^"\\\n]|\\.)*)"'
_ESCAPE = rb"\\([0-7]{1,3}|x[0-9A-Fa-f]{1,2}|.)"
_CONTROL = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}


class StateFile(Container):
    """A text that names the latest checkpoint of its directory."""

    title = "a `checkpoint` file"

    def is_mine(self, file: Path) -> bool:
        """Whether it is a CheckpointState in text form, under whatever name."""
        start = head(file)
        return _KEY in start and re.search(_FIELD, start, re.MULTILINE) is not None

    def open(self, path: Path, file: Path) -> Checkpoint:
        """Open the latest checkpoint that the state file `file` names, inside its own directory."""
        refuse_pointer(file)
        names = _latest_names(file)
        for name in names:
            with naming(file):
                found = _open_latest(path, file.parent / name)
            if found is not None:
                return found
        raise CheckpointError(
            "state/stale",
            "the `checkpoint` file names a checkpoint that is not in its directory",
            file=file,
            expected=names[-1],
            found=", ".join(prefixes_in(file.parent)[:_SHOWN]) or "none",
            hint="Name the checkpoint you want.",
        )

    def in_directory(self, directory: Path) -> Path | None:
        """Return the file called `checkpoint` in `directory`, or where Keras 2's BackupAndRestore puts it."""
        states = (directory / _NAME, directory / _BACKUP / _NAME)
        return next((state for state in states if exists(state) and not state.is_dir()), None)


def _open_latest(path: Path, prefix: Path) -> Checkpoint | None:
    prefix = prefix.with_name(without_number(prefix.name) or prefix.name)
    return None if prefix.name == _NAME else open_prefix(path, prefix)


def _latest_names(path: Path) -> tuple[str, ...]:
    """Return the names that the latest checkpoint may have inside the directory of the state file `path`.

    Paths written on another machine lead nowhere here, and one that leaves the directory must not be
    followed, so of those only the last part counts.

    Raises:
        CheckpointError: the file cannot be read or names no checkpoint.
    """
    found = re.search(_FIELD, head(path, _LONGEST), re.MULTILINE)
    if found is None:
        raise CheckpointError(
            "state/no-path",
            "this `checkpoint` file names no checkpoint",
            file=path,
            expected="model_checkpoint_path",
        )
    parts = re.findall(_STRING, found[1])
    raw = b"".join(re.sub(_ESCAPE, _unescape, part, flags=re.DOTALL) for part in parts)
    written = raw.decode("utf-8", "surrogateescape")
    if "\0" in written:
        raise CheckpointError("state/bad-path", "this `checkpoint` file names an impossible path", file=path)
    posix = PurePosixPath(written)
    inside = not posix.is_absolute() and ".." not in posix.parts and len(posix.parts) > 1
    last = posix.name if "\\" not in written else PureWindowsPath(written).name
    names = (str(posix), last) if inside else (last,)
    if not last or last == "..":
        raise CheckpointError("state/bad-path", "this `checkpoint` file names an impossible path", file=path)
    return names


def _unescape(match: re.Match[bytes]) -> bytes:
    body = match[1]
    if body[:1].isdigit() and body[0] < ord("8"):
        return bytes([int(body, 8) & 0xFF])
    if body[:1] == b"x" and len(body) > 1:
        return bytes([int(body[1:], 16)])
    return _CONTROL.get(body, body)
