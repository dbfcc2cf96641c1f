"""TensorFlow.js models as a container."""

from __future__ import annotations

from pathlib import Path

from porter.checkpoints.container import Container
from porter.core.checkpoint import Checkpoint
from porter.formats.files import RegularFile
from porter.formats.malformed import Malformed


class TfjsContainer(Container):
    """A ``model.json`` with its weight files, or a zip archive of both."""

    title = "a TensorFlow.js model"

    def is_mine(self, file: Path) -> bool:
        """Whether it is the JSON of a model, or an archive with one."""
        handle = RegularFile(file)
        try:
            start = handle.read(0, min(4, handle.size))
            if start == b"PK\x03\x04":
                return _has_model(handle)
            if not start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
                return False
            from porter.checkpoints.tfjs.model_json import is_model_json  # noqa: PLC0415  (few need it)

            return is_model_json(handle)
        finally:
            handle.close()

    def open(self, path: Path, file: Path) -> Checkpoint:
        """Open it."""
        from porter.checkpoints.tfjs.model import TfjsModel  # noqa: PLC0415  (as in `is_mine`)

        return TfjsModel(path, file)

    def in_directory(self, directory: Path) -> Path | None:
        """Return the model.json of a directory that has one of this container."""
        if not (directory / "model.json").is_file():
            return None
        from porter.checkpoints.tfjs.model_json import model_in  # noqa: PLC0415  (as in `is_mine`)

        return model_in(directory)


def _has_model(handle: RegularFile) -> bool:
    from porter.checkpoints.keras import archive  # noqa: PLC0415  (as in `is_mine`)
    from porter.checkpoints.tfjs.model_json import model_member  # noqa: PLC0415  (as in `is_mine`)

    try:
        return model_member(archive.read_members(handle)) is not None
    except Malformed:
        return False
